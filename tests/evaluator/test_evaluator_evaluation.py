"""Evaluations against a real HTTP server with scripted answers, good and bad."""

import json
import resource
import socket
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cases import city_of, follow_up, general, row, small_talk

from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.evaluator.evaluation import Judge, evaluate
from callwright.evaluator.report import Report
from callwright.evaluator.row import Row
from fakes import OpenAIServer, Raw, completion


def right(body: dict[str, Any]) -> dict[str, Any]:
    return completion(calls=[("weather", {"city": city_of(body)})])


def run(server: OpenAIServer, rows: Any, **options: Any) -> Report:
    return evaluate(
        **{"base_url": server.base_url, "model": "m", "rows": rows, "concurrency": 2, "retry_seconds": 0.0} | options
    )


def test_counts_right_wrong_and_missing_calls():
    answers = {
        "Oslo": completion(calls=[("weather", {"city": "Oslo"})]),
        "Rome": completion(calls=[("weather", {"city": "rome"})]),
        "Bonn": completion("It is sunny."),
        "Kyiv": completion(calls=[("weather", '{"city": "Ky')]),
        "Lima": completion(calls=[("time", {})]),
        "Bern": completion(calls=[("weather", {"city": "Bern"}), ("time", {})]),
        "Cork": completion(calls=[("wether", {"city": "Cork"})]),
        "Nice": completion("Action: weather\nAction Input: {city:\n", tokens=(20, 9)),
    }
    with OpenAIServer(lambda body: answers[city_of(body)]) as server:
        asked = [row(str(n), city) for n, city in enumerate(answers)]
        report = run(server, asked, dialect="ms_agent")
        few = run(server, asked, worst=4)
    total = report.total
    assert (total.requests, total.calls_due, total.errors) == (8, 8, 0)
    assert total.accuracy == 1 / 8
    assert total.normalised_accuracy == 2 / 8
    assert total.called == 4 / 8
    assert total.right_tool == 2 / 8
    assert total.arguments == 2 / 8
    assert total.schema_valid == 1.0
    assert total.malformed == 3 / 8
    assert set(total.malformed_reasons) >= {"the arguments are no JSON object", "unknown tool"}
    assert total.faults == {"right": 1, "arguments": 1, "tool": 2, "no call": 1, "malformed": 3}
    assert (total.prompt_tokens, total.completion_tokens) == (90, 44)
    assert [report.calls[f"seen/{n}"] for n in range(8)] == [True] + [False] * 7
    assert [failure.id for failure in report.failures] == ["3", "6", "7", "2", "4", "5", "1"]
    assert [failure.id for failure in few.failures] == ["3", "2", "4", "1"]
    assert report.failures[0].expected == 'weather({"city": "Kyiv"})'
    assert server.headers[0]["x-callwright-dialect"] == "ms_agent"
    assert (server.requests[0]["temperature"], server.requests[0]["max_tokens"]) == (0, 512)


def test_the_endpoints_own_word_on_malformed_calls_counts():
    answer = completion("what it wrote")
    answer["choices"][0]["message"]["malformed_tool_calls"] = [{"index": 0, "reason": "no Action Input; expected city"}]
    with OpenAIServer(lambda body: answer) as server:
        report = run(server, [row("0", "Oslo")])
    assert report.total.malformed_reasons == {"no Action Input": 1}


def test_irrelevance_answers_and_repeats_are_measured_apart_from_accuracy():
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        match len(body["messages"]), body["messages"][-1]["content"]:
            case 3, "9 degrees":
                return completion("It is 9 degrees in Oslo.")
            case 3, _:
                return completion(calls=[("weather", {"city": "Oslo"})])
            case _:
                return completion("Fine, thanks.")

    again = follow_up("1")
    no_result = {**again.messages[2], "content": "?"}
    again = Row("answers", "1", (*again.messages[:2], no_result), again.tools, (), "It rains.")
    with OpenAIServer(answer) as server:
        report = run(server, [follow_up(), again, small_talk(), small_talk("1")])
    assert report.total.accuracy is None
    assert report.total.no_call_accuracy == 1.0
    assert report.no_calls == {"small-talk/0": True, "small-talk/1": True}
    assert report.sets["answers"].answer_overlap == 0.5
    assert report.sets["answers"].repeated == 0.5
    assert [failure.what for failure in report.failures] == ["the same call again"]


def test_general_loss_is_per_token_of_the_answer():
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if body.get("prompt_logprobs") is None:
            assert body["add_generation_prompt"] is True
            return completion("x", tokens=(3, 1))
        assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)
        assert body["messages"][-1] == {"role": "assistant", "content": "fine"}
        entries = [None, *({str(n): {"logprob": -float(n), "rank": 1, "decoded_token": "t"}} for n in range(1, 6))]
        return completion("x") | {"prompt_logprobs": entries}

    with OpenAIServer(answer) as server:
        report = run(server, [general()])
    assert report.total.general_loss == pytest.approx((3 + 4 + 5) / 3)
    assert report.total.general_tokens == 3
    assert json.loads(report.model_dump_json())["losses"] == {"general/0": [12.0, 3]}


@pytest.mark.parametrize("refusal", [Raw('{"error": "unknown field prompt_logprobs"}', 400), completion("fine then")])
def test_an_endpoint_without_logprobs_is_scored_by_overlap_and_the_report_says_so(refusal: Any):
    def answer(body: dict[str, Any]) -> Any:
        return refusal if "prompt_logprobs" in body else completion("fine")

    with OpenAIServer(answer) as server:
        report = run(server, [general(), general("1", "not too bad")], concurrency=1)
        assert sum("prompt_logprobs" in body for body in server.requests) == 1
    assert report.total.general_loss is None
    assert report.total.general_overlap == 0.5
    assert any("no prompt log-probabilities" in note for note in report.notes)


def test_a_judge_gives_its_word_on_final_answers():
    def verdict(body: dict[str, Any]) -> dict[str, Any]:
        return completion("Yes." if "9 degrees in" in body["messages"][0]["content"].split("answer:")[2] else "NO")

    with (
        OpenAIServer(
            lambda body: completion("It is 9 degrees in Oslo." if len(body["messages"]) > 2 else "x")
        ) as server,
        OpenAIServer(verdict, models=("j",)) as judge,
    ):
        report = run(server, [follow_up(), small_talk()], judge=Judge(judge.base_url, "j"))
        assert len(judge.requests) == 1
    assert (report.total.answers_judged, report.total.judged_right) == (1, 1.0)


def test_an_endpoint_that_is_down_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable, match="start the server or correct the base URL"):
        evaluate(base_url=url, model="m", rows=[row("0", "Oslo")], retry_seconds=0.0)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "", "ftp://x/v1", "http://[::1", "http://x:99999", "http:///v1"])
def test_a_base_url_that_is_none(url: str):
    with pytest.raises(InvalidInput, match="expected one such as http://"):
        evaluate(base_url=url, model="m", rows=[row("0", "Oslo")])


def test_a_key_that_no_header_can_hold_is_named_without_being_shown():
    with pytest.raises(InvalidInput, match="line break") as caught:
        evaluate(base_url="http://x", model="m", rows=[row("0", "Oslo")], api_key="sk-secret\n")
    assert "sk-secret" not in str(caught.value)


def test_a_dialect_that_is_none_is_said_before_anything_is_asked():
    with pytest.raises(InvalidInput, match="got dialect 'klingon'; expected one of react_en, "):
        evaluate(base_url="http://x", model="m", rows=[row("0", "Oslo")], dialect="klingon")


def test_a_model_that_is_not_served_is_named_with_those_that_are():
    with OpenAIServer(right, models=("a", "b")) as server, pytest.raises(NotFound, match="expected one of a, b"):
        run(server, [row("0", "Oslo")])


@pytest.mark.parametrize(("status", "error"), [(401, InvalidInput), (403, InvalidInput), (404, NotFound)])
def test_a_refusal_of_everything_stops_the_evaluation(status: int, error: type[Exception]):
    with OpenAIServer(lambda body: Raw("no", status), models=Raw("no list", 404)) as server:
        with pytest.raises(error):
            run(server, [row(str(n), "Oslo") for n in range(50)])
        assert len(server.requests) < 10


def test_no_secret_in_report_or_error():
    with OpenAIServer(right) as server:
        url = server.base_url.replace("//", "//user:hunter2@")
        report = run(server, [row("0", "Oslo")], base_url=url)
        run(server, [row("0", "Oslo")], api_key="sk-secret")
        assert server.headers[0]["authorization"].startswith("Basic ")
        assert server.headers[1]["authorization"] == "Bearer sk-secret"
    assert "hunter2" not in report.model_dump_json()
    with pytest.raises(Unavailable) as caught:
        run(server, [row("0", "Oslo")], base_url=url, api_key="sk-secret")
    assert not any(secret in str(caught.value) for secret in ("hunter2", "sk-secret"))


def test_answers_that_are_rubbish_late_or_refused_are_counted_by_reason_and_count_as_wrong():
    late = threading.Event()
    answers: dict[str, Any] = {
        "Rubbish": Raw("<html>oops"),
        "List": Raw("[]"),
        "Empty": {"choices": []},
        "Deep": Raw("[" * 100_000),
        "Refused": Raw('{"error": {"message": "no such field"}}', 400),
        "Long": Raw('{"error": {"message": "maximum context length is 10 tokens"}}', 400),
    }

    def answer(body: dict[str, Any]) -> Any:
        if city_of(body) == "Late":
            late.wait(10)
        return answers.get(city_of(body)) or right(body)

    cities = ["Oslo", *answers, "Late", "Rome"]
    with OpenAIServer(answer) as server:
        report = run(server, [row(c, c) for c in cities], retries=0, timeout_seconds=1.0)
        late.set()
    assert report.total.accuracy == 2 / 9
    assert report.total.errors == 7
    assert report.total.error_reasons == {"rubbish": 4, "HTTP 400": 1, "prompt too long": 1, "too late": 1}
    assert report.total.faults == {"right": 2, "no answer": 7}
    assert "7 of 9 requests got no answer and count as wrong" in report.notes


def test_temporary_failures_are_tried_again():
    seen: dict[str, int] = {}

    def answer(body: dict[str, Any]) -> Any:
        city = city_of(body)
        seen[city] = seen.get(city, 0) + 1
        return Raw("busy", 503) if seen[city] < 3 else right(body)

    with OpenAIServer(answer) as server:
        report = run(server, [row(str(n), f"C{n}") for n in range(5)], retries=2)
    assert report.total.accuracy == 1.0
    assert set(seen.values()) == {3}


def test_an_interrupted_evaluation_carries_on_where_it_stopped(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    rows = [row(str(n), f"C{n}") for n in range(40)]
    broken = threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if len(server.requests) > 20:
            broken.set()
        return Raw("gone", 500) if broken.is_set() else right(body)

    with OpenAIServer(answer) as server, pytest.raises(Unavailable, match=r"in a row.*run the same command again"):
        run(server, rows, retries=0, results_path=results)
    with results.open("ab") as file:
        file.write(b'{"row": "seen/39 0123", "outco')  # what a killed process leaves
    with OpenAIServer(right) as server:
        report = run(server, rows, results_path=results)
        again = len(server.requests)
    assert 15 <= 40 - again <= 20
    assert report.total.accuracy == 1.0
    assert report.total.requests == 40
    assert any("earlier, interrupted run" in note for note in report.notes)
    with OpenAIServer(right) as server:
        run(server, rows, results_path=results)
        assert len(server.requests) == 40, "a finished evaluation starts anew"


def test_only_the_very_same_request_is_carried_over(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    rows = [row("0", "Oslo"), row("1", "Rome")]

    def answer(body: dict[str, Any]) -> Any:
        return Raw("no", 400) if city_of(body) == "Rome" else right(body)

    with OpenAIServer(answer) as server:
        assert run(server, rows, results_path=results).total.errors == 1
    with OpenAIServer(right) as server:
        changed = [row("0", "Bonn"), row("1", "Rome")]
        assert run(server, changed, results_path=results).total.accuracy == 1.0
        assert len(server.requests) == 2, "the changed row and the one without an answer"


def test_results_of_other_settings_are_not_lost(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    with OpenAIServer(lambda body: Raw("no", 400)) as server:
        run(server, [row("0", "Oslo")], results_path=results)
        with pytest.raises(InvalidInput, match="unfinished evaluation with other settings"):
            run(server, [row("0", "Oslo")], results_path=results, max_tokens=7)


@pytest.mark.parametrize("text", ["a poem\n", "[1]\n{}\n", "no line end"])
def test_a_file_that_holds_no_results_is_not_overwritten(tmp_path: Path, text: str):
    (tmp_path / "mine.txt").write_text(text)
    with OpenAIServer(right) as server, pytest.raises(InvalidInput, match="holds something else"):
        run(server, [row("0", "Oslo")], results_path=tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == text


def test_a_result_that_another_callwright_wrote_otherwise_is_asked_for_again(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    broken = [row("0", "Oslo"), row("1", "Rome")]
    with OpenAIServer(lambda body: right(body) if city_of(body) == "Oslo" else Raw("no", 400)) as server:
        run(server, broken, results_path=results)
    results.write_text(results.read_text().replace('"verdict": {', '"verdict": {"was": 1}, "old": {'))
    with OpenAIServer(right) as server:
        assert run(server, broken, results_path=results).total.accuracy == 1.0
        assert len(server.requests) == 2


def test_no_rows_is_an_error():
    with OpenAIServer(right) as server, pytest.raises(InvalidInput, match="no row with gold"):
        run(server, [])


def test_exactly_so_many_requests_are_under_way_and_progress_rises():
    most = [0, 0]
    lock, all_here = threading.Lock(), threading.Barrier(8, timeout=20)

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        with lock:
            most[0] += 1
            most[1] = max(most)
        all_here.wait()  # breaks unless eight come at once
        with lock:
            most[0] -= 1
        return right(body)

    told: list[tuple[int, int, str]] = []
    with OpenAIServer(answer) as server:
        rows = [row(str(n), "Oslo") for n in range(32)]
        report = run(server, rows, concurrency=8, on_progress=lambda *args: told.append(args))
    assert report.total.accuracy == 1.0
    assert most[1] == 8
    assert told[-1] == (32, 32, "100.0% right")
    assert all(before[0] <= after[0] for before, after in pairwise(told))


def test_sets_stand_in_the_order_of_their_rows() -> None:
    """Whichever was answered first."""
    other = threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if city_of(body) == "Oslo":
            assert other.wait(30)
        else:
            other.set()
        return right(body)

    with OpenAIServer(answer) as server:
        report = run(server, [row("0", "Oslo", set="unseen"), row("1", "Rome", set="known")])
    assert list(report.sets) == ["unseen", "known"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc to see the memory in use")
def test_memory_does_not_grow_with_the_answers(tmp_path: Path):
    reply = Raw(json.dumps(completion("a long tale " * 16_000)))
    resident: list[int] = []

    def answer(body: dict[str, Any]) -> Raw:
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
        return reply

    with OpenAIServer(answer) as server:
        rows = (row(str(n), "Oslo") for n in range(360))
        report = run(server, rows, concurrency=16, results_path=tmp_path / "results.jsonl")
    assert report.total.requests == 360
    assert max(resident) - max(resident[:60]) < 24e6, "300 more answers of 190 kB each took over 24 MB"
