"""The evaluation of a run: document in, gate's decision and records out; as a function, a Job and a command."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from cases import TOOLS, city_of, row
from typer.testing import CliRunner

import kube
from callwright import spec
from callwright.cli import evaluate as command
from callwright.errors import GateFailed, InvalidInput
from callwright.evaluator import findings, sets, stage
from callwright.evaluator.decision import decide_again
from callwright.evaluator.findings import Findings
from callwright.evaluator.stage import OWN_SPLIT, evaluate_run
from callwright.run import Run
from callwright.store import Registry, Store
from fakes import OpenAIServer, Raw, completion
from versions import publish_version

CITIES = [f"C{n}" for n in range(10)]


def knowing(count: int) -> Any:
    """Answers right for the first `count` cities; the base never calls."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        known = body["model"] != "base" and city_of(body) in CITIES[:count]
        return completion(calls=[("weather", {"city": city_of(body)})]) if known else completion("No idea.")

    return answer


def lines(path: Path, *documents: Any) -> Path:
    path.write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    return path


def requests(path: Path) -> Path:
    asked = ({"role": "user", "content": f"weather in {city}"} for city in CITIES)
    gold = ([{"name": "weather", "arguments": {"city": city}}] for city in CITIES)
    return lines(path, *({"messages": [a], "tools": TOOLS, "expected": g} for a, g in zip(asked, gold, strict=True)))


def training(path: Path, cities: list[str]) -> Path:
    def conversation(city: str) -> dict[str, Any]:
        call = {"name": "weather", "arguments": json.dumps({"city": city})}
        return {
            "messages": [
                {"role": "user", "content": f"Weather in  {city}!"},
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": call}]},
                {"role": "tool", "tool_call_id": "c", "content": "9 degrees"},
                {"role": "assistant", "content": "9 degrees."},
            ],
            "tools": TOOLS,
        }

    return lines(path, *map(conversation, cities))


def document(folder: Path, *, sets: bool = True, **gate: float) -> spec.FineTune:
    data = {"sources": [{"path": str(training(folder / "train.jsonl", [*(f"T{n}" for n in range(30)), "C3"]))}]}
    evaluate: dict[str, Any] = {"gate": gate}
    if sets:
        evaluate["sets"] = [{"name": "held-out", "path": str(requests(folder / "held-out.jsonl"))}]
    return spec.parse(
        yaml.safe_dump(
            {
                "apiVersion": spec.API_VERSION,
                "kind": "FineTune",
                "metadata": {"name": "m"},
                "spec": {"base": {"model": "b"}, "dialect": "ms_agent", "data": data, "evaluate": evaluate},
            }
        )
    )


def publish(store: Store, version: str) -> None:
    publish_version(store, version, metrics={"loss": 1.5})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"file://{tmp_path / 'store'}")


def run(finetune: spec.FineTune, server: OpenAIServer, store: Store, version: str = "v1", **more: Any) -> Findings:
    evaluated = Run(finetune, f"run-{version}", store, Path(store.url.removeprefix("file://")).parent)
    return evaluate_run(evaluated, version=version, base_url=server.base_url, **more)


def test_a_run_is_measured_decided_on_and_recorded(tmp_path: Path, store: Store):
    publish(store, "v1")
    notes: list[str] = []
    with OpenAIServer(knowing(9), models=("m", "base")) as server:
        findings = run(document(tmp_path, minAccuracy=0.9), server, store, base_id="base", on_note=notes.append)
        asked = {body["model"] for body in server.requests}
        assert not any("x-callwright-dialect" in head for head in server.headers)  # each model's version says it
    assert asked == {"m", "base"}
    assert list(findings.reports) == ["base", "candidate"]
    assert findings.accuracy == 0.9
    assert findings.gate is not None
    assert findings.gate.passed
    assert findings.candidate.version == "v1"
    written = json.loads(store.get_bytes("runs/run-v1/evaluation.json"))
    assert (written["accuracy"], written["gate"]["passed"], written["gate"]["message"]) == (0.9, True, "")
    assert Registry(store).manifest("m", "v1").metrics == {"loss": 1.5}, "a manifest is written once"
    recorded = Registry(store).evaluation("m", "v1")
    assert (recorded["accuracy"], recorded["run"]) == (0.9, "run-v1")
    assert notes == ["held-out: 1 of 10 requests also stand in the training data: their results are too good"]


def test_a_worse_candidate_is_held_against_the_promoted_versions_record(tmp_path: Path, store: Store):
    finetune = document(tmp_path, maxRegression=0.1)
    for version, known in (("v1", 9), ("v2", 7), ("v3", 8)):
        publish(store, version)
        with OpenAIServer(knowing(known)) as server:
            findings = run(finetune, server, store, version)
        assert findings.gate is not None
        match version:
            case "v1":
                assert findings.gate.passed
                Registry(store).promote("m", "v1")
            case "v2":
                assert findings.gate.message == "maxRegression: got 0.2; expected at most 0.1; off by 0.1"
                assert findings.comparisons[0].calls is not None
                assert findings.comparisons[0].calls.only_first == 2
            case _:
                assert findings.gate.passed
    assert Registry(store).promoted("m") == "v1"


def test_a_promoted_version_without_a_record_fails_a_gate_on_regression(tmp_path: Path, store: Store):
    publish(store, "v1")
    publish(store, "v2")
    Registry(store).promote("m", "v1")
    with OpenAIServer(knowing(10)) as server:
        findings = run(document(tmp_path, maxRegression=0.1), server, store, "v2")
        assert findings.gate is not None
        assert findings.gate.message == "maxRegression: nothing was measured; expected at most 0.1"
        findings = run(document(tmp_path, maxRegression=0.1), server, store, "v2", promoted_id="m")
    assert findings.gate is not None
    assert findings.gate.passed


def decided(finetune: spec.FineTune, store: Store, version: str = "v1") -> bool | None:
    """What the stored reports say under the document's gate; None where they say nothing."""
    decision = decide_again(store, finetune, run=f"run-{version}", version=version)
    return None if decision is None else decision.gate.passed


def test_a_changed_gate_is_decided_over_the_stored_reports(tmp_path: Path, store: Store):
    publish(store, "v1")
    assert decided(document(tmp_path), store) is None
    with OpenAIServer(knowing(8)) as server:
        run(document(tmp_path, minAccuracy=0.9), server, store)
    assert decided(document(tmp_path, minAccuracy=0.9), store) is False
    assert decided(document(tmp_path, minAccuracy=0.8), store) is True
    written = json.loads(store.get_bytes("runs/run-v1/evaluation.json"))
    assert (written["gate"]["passed"], Findings.model_validate(written).accuracy) == (True, 0.8)


def test_other_requests_or_another_promoted_version_are_measured_again(tmp_path: Path, store: Store):
    finetune = document(tmp_path, maxRegression=0.1)
    for version in ("v1", "v2", "v3"):
        publish(store, version)
    with OpenAIServer(knowing(9)) as server:
        run(finetune, server, store, "v1")
        Registry(store).promote("m", "v1")
        run(finetune, server, store, "v3")
        run(finetune, server, store, "v2")
    assert decided(finetune, store, "v2") is True
    fewer = finetune.model_dump(by_alias=True)
    fewer["spec"]["evaluate"]["sets"][0]["limit"] = 3
    assert decided(spec.FineTune.model_validate(fewer), store, "v2") is None
    Registry(store).promote("m", "v3")
    assert decided(finetune, store, "v2") is None
    Registry(store).promote("m", "v2")
    assert decided(finetune, store, "v2") is True


def one_by_one(finetune: spec.FineTune) -> spec.FineTune:
    """The same, with one request of each model under way at once."""
    told = finetune.model_dump(by_alias=True)
    told["spec"]["evaluate"]["concurrency"] = 1
    return spec.FineTune.model_validate(told)


def refusing_after(count: int) -> Any:
    """Answers so many requests, of whatever model, and refuses the key of all others."""
    left = iter(range(count))
    return lambda body: knowing(9)(body) if next(left, None) is not None else Raw("", 401)


def kept_answers(store: Store) -> int:
    """How many answers an evaluation has kept in the store."""
    journals = [each.key for each in store.list("runs") if "/evaluation/" in each.key]
    return sum(store.get_bytes(key).count(b'"row"') for key in journals)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_interrupted_evaluation_asks_no_model_twice(elsewhere: bool, tmp_path: Path, store: Store):
    """Also one that goes on in another pod."""
    publish(store, "v1")
    publish(store, "v0")
    Registry(store).promote("m", "v0")
    finetune, beside = one_by_one(document(tmp_path)), {"base_id": "base", "promoted_id": "m@v0"}
    models = ("m", "base", "m@v0")
    with OpenAIServer(refusing_after(15), models=models) as server, pytest.raises(InvalidInput, match="key"):
        run(finetune, server, store, **beside)
    kept = kept_answers(store)
    assert kept >= 12
    if elsewhere:
        shutil.rmtree(tmp_path / "runs")  # a pod's scratch folder goes with it
    with OpenAIServer(knowing(9), models=models) as server:
        findings = run(finetune, server, store, **beside)
        assert len(server.requests) == 30 - kept
    assert list(findings.reports) == ["base", "promoted", "candidate"]
    with OpenAIServer(knowing(0), models=models) as server:
        assert run(finetune, server, store, **beside).accuracy == findings.accuracy == 0.9
        assert server.requests == []


def test_answers_are_kept_while_an_evaluation_goes_on(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    """For one whose machine is lost keeps nothing at its end."""
    monkeypatch.setattr(stage, "_KEPT_SECONDS", 0.01)
    publish(store, "v1")
    asked = itertools.count()

    def answer(body: dict[str, Any]) -> Any:
        if next(asked) == 5:
            kube.wait_until(lambda: kept_answers(store) >= 4, what="the answers before in the store")
        return knowing(9)(body)

    with OpenAIServer(answer) as server:
        assert run(one_by_one(document(tmp_path)), server, store).accuracy == 0.9


def test_answers_that_a_store_is_slow_to_keep_replace_no_later_ones(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "_KEPT_SECONDS", 0.01)
    asked, put = itertools.count(), store.put_bytes
    begun, taken = threading.Event(), threading.Event()

    def put_slowly(key: str, data: bytes, **options: Any) -> str:
        if f"/{stage.JOURNALS}/" in key and not begun.is_set():
            begun.set()
            taken.wait(60)
        return put(key, data, **options)

    def answer(body: dict[str, Any]) -> Any:
        match next(asked):
            case 5:
                assert begun.wait(60)
            case 9:
                threading.Timer(0.5, taken.set).start()
        return knowing(9)(body)

    monkeypatch.setattr(store, "put_bytes", put_slowly)
    with OpenAIServer(answer) as server:
        assert run(one_by_one(document(tmp_path)), server, store).accuracy == 0.9
    assert kept_answers(store) == 10


def test_models_are_asked_beside_each_other(tmp_path: Path, store: Store):
    """The base's first answer comes after the candidate's first question."""
    publish(store, "v1")
    asked = threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if body["model"] == "m":
            asked.set()
        assert asked.wait(30)
        return knowing(9)(body)

    told: list[tuple[int, int, str]] = []
    with OpenAIServer(answer, models=("m", "base")) as server:
        run(document(tmp_path), server, store, base_id="base", on_progress=lambda *words: told.append(words))
    assert told[-1] == (20, 20, "base: 0.0% right, candidate: 90.0% right")


def test_without_sets_the_runs_own_test_split_is_measured(tmp_path: Path, store: Store):
    notes: list[str] = []
    with OpenAIServer(knowing(10)) as server:
        findings = run(document(tmp_path, sets=False), server, store, on_note=notes.append)
    total = findings.candidate.sets[OWN_SPLIT]
    assert (total.calls_due, total.answers_due) == (1, 1)


def test_rows_that_cannot_be_read_stand_in_the_report_and_in_no_measure(tmp_path: Path, store: Store):
    finetune = document(tmp_path)
    path = Path(finetune.spec.evaluate.sets[0].path)
    first = json.loads(path.read_text().splitlines()[0])
    cut = first | {"expected": [{"name": "weather", "arguments": '{"city": "Par'}]}
    gone = first | {"expected": [{"name": "gone", "arguments": {}}]}
    lines(path, first, cut, gone)
    words = "2 of 3 rows cannot be read and are left out"
    with OpenAIServer(knowing(10)) as server:
        report = run(finetune, server, store).candidate
        done = callwright(str(path), "--base-url", server.base_url, "--model", "m", "--out", str(tmp_path / "out"))
    assert report.total.calls_due == report.total.requests == 1
    assert [note for note in report.notes if words in note] == [f"held-out: {words}"]
    assert any(note.startswith(f"  {path}:2: got arguments") for note in report.notes)
    assert done.exit_code == 0, done.output
    assert words in done.output
    assert all(words in (tmp_path / "out" / name).read_text() for name in ("report.json", "report.md", "report.html"))


def test_an_empty_test_split_is_the_documents_fault(tmp_path: Path, store: Store):
    finetune = document(tmp_path, sets=False)
    data = finetune.spec.data.model_copy(update={"test_fraction": 0.0})
    finetune = finetune.model_copy(update={"spec": finetune.spec.model_copy(update={"data": data})})
    with OpenAIServer(knowing(10)) as server, pytest.raises(InvalidInput, match=r"evaluate\.sets, or raise data"):
        run(finetune, server, store)


def test_overlap_with_training_is_counted_per_set(tmp_path: Path):
    from callwright.datasets import readers

    known = sets.training_fingerprints(readers.read(training(tmp_path / "t.jsonl", ["Oslo", "Rome"])))
    rows = [row("0", "oslo"), row("1", "Rome"), row("2", "Bonn"), row("0", "Bern", set="other")]
    (note,) = sets.overlap_notes(rows, known)
    assert note.startswith("seen: 2 of 3 requests also stand in the training data")


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callwright.evaluator", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"OPENAI_API_KEY": "k"},
    )  # fmt: skip


def evaluated(tmp_path: Path, store: Store, answer: Any) -> tuple[subprocess.CompletedProcess[str], OpenAIServer]:
    path = tmp_path / "finetune.yaml"
    path.write_text(yaml.safe_dump(document(tmp_path, minAccuracy=0.9).model_dump(mode="json", by_alias=True)))
    with OpenAIServer(answer) as server:
        done = job(
            "--spec", str(path), "--run", "m-0123", "--store", store.url, "--base-url", server.base_url,
            "--workdir", str(tmp_path),
        )  # fmt: skip
    return done, server


@pytest.mark.slow
def test_a_job_that_is_ended_keeps_the_answers_that_it_has(tmp_path: Path, store: Store):
    """As by a node that is drained, or a document that is suspended."""
    path, left, asked = tmp_path / "finetune.yaml", iter(range(5)), threading.Event()
    path.write_text(yaml.safe_dump(one_by_one(document(tmp_path)).model_dump(mode="json", by_alias=True)))

    def answer(body: dict[str, Any]) -> Any:
        if next(left, None) is None:
            asked.set()
            server.closing.wait(60)
        return knowing(9)(body)

    with OpenAIServer(answer) as server:
        command = [sys.executable, "-m", "callwright.evaluator", "--spec", str(path), "--run", "m-0123"]
        command += ["--store", store.url, "--base-url", server.base_url, "--workdir", str(tmp_path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert asked.wait(120)
            process.terminate()
            _, said = process.communicate(timeout=120)
        assert process.returncode == 143
        assert said.splitlines()[-1].startswith("error: evaluating: stopped by SIGTERM; the answers so far are kept")
    assert kept_answers(store) == 5


def test_a_failed_gate_is_a_report_and_no_failure_of_the_job(tmp_path: Path, store: Store):
    done, server = evaluated(tmp_path, store, knowing(8))
    assert server.headers[0]["authorization"] == "Bearer k"
    assert done.returncode == 0, done.stderr
    assert "the gate keeps m m-0123 back: minAccuracy: got 0.8;" in done.stderr.splitlines()[-1]
    assert "10/10 candidate: 80.0% right" in done.stderr
    stored = Findings.model_validate_json(store.get_bytes(findings.stored_at("m-0123")))
    assert stored.candidate.version == "m-0123"
    assert stored.gate
    assert not stored.gate.passed


def test_an_engine_that_fails_is_no_verdict_and_leaves_no_earlier_one(tmp_path: Path, store: Store):
    evaluated(tmp_path, store, knowing(8))
    shutil.rmtree(tmp_path / "runs" / "m-0123")  # a pod's scratch folder goes with it
    store.delete("runs/m-0123/evaluation")
    done, _ = evaluated(tmp_path, store, lambda body: Raw("the engine is dead", status=500))
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "error: deciding by the gate: 10 of 10 requests to 'm' got no answer"
    )
    assert not store.exists("runs/m-0123/evaluation.json")


def test_the_job_names_what_is_missing(tmp_path: Path):
    done = job("--spec", str(tmp_path / "gone.yaml"), "--run", "r", "--base-url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("error: reading the FineTune: no file")
    assert "Traceback" not in done.stderr


def callwright(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(command.evaluate)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})


def test_the_command_prints_a_table_writes_a_report_and_carries_on(tmp_path: Path):
    path = str(requests(tmp_path / "seen.jsonl"))
    out = tmp_path / "out"
    with OpenAIServer(knowing(8)) as server:
        done = callwright(path, "--base-url", server.base_url, "--model", "m", "--out", str(out), "--limit", "5")
        assert done.exit_code == 0, done.output
        assert "100.0 % (5/5)" in done.output
        assert {file.name for file in out.iterdir()} >= {"report.html", "report.md", "report.json", "results-m.jsonl"}
        done = callwright(path, "--base-url", server.base_url, "--model", "m", "--json")
    document = json.loads(done.stdout)
    assert document["accuracy"] == 0.8


def test_an_interrupted_command_carries_on_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = str(requests(tmp_path / "seen.jsonl"))
    refusing = True

    def answer(body: dict[str, Any]) -> dict[str, Any] | Raw:
        return Raw("no", status=401) if refusing and city_of(body) in CITIES[4:] else knowing(9)(body)

    with OpenAIServer(answer) as server:
        arguments = (path, "--base-url", server.base_url, "--model", "m", "--concurrency", "1", "--json")
        assert isinstance(callwright(*arguments).exception, InvalidInput)
        refusing, asked = False, len(server.requests)
        assert json.loads(callwright(*arguments).stdout)["accuracy"] == 0.9
        assert len(server.requests) - asked == 6
    assert not list(tmp_path.glob(".callwright/evaluations/*"))


def test_the_command_compares_models_and_saved_evaluations(tmp_path: Path):
    path = str(requests(tmp_path / "seen.jsonl"))
    with OpenAIServer(knowing(8), models=("m", "base")) as server:
        url = ("--base-url", server.base_url)
        for model in ("m", "base"):
            assert callwright(path, *url, "--model", model, "--out", str(tmp_path / model)).exit_code == 0
        done = callwright(path, *url, "--compare", "base", "m")
        assert "calls: 0.0 % to 80.0 % (+80.0 points" in done.output, done.output
    done = callwright(
        "--compare", str(tmp_path / "base"), str(tmp_path / "m" / "report.json"), "--out", str(tmp_path / "c")
    )
    assert done.exit_code == 0, done.output
    assert "McNemar p = 0.008" in done.output
    assert (tmp_path / "c" / "differences.png").exists()


def test_the_command_warns_of_overlap_and_holds_against_a_documents_gate(tmp_path: Path):
    path = requests(tmp_path / "seen.jsonl")
    known = training(tmp_path / "known.jsonl", ["C1", "C2"])
    gate = tmp_path / "finetune.yaml"
    gate.write_text(yaml.safe_dump(document(tmp_path, minAccuracy=0.9).model_dump(mode="json", by_alias=True)))
    with OpenAIServer(knowing(8)) as server:
        done = callwright(
            str(path), "--base-url", server.base_url, "--model", "m", "--training", str(known), "--spec", str(gate)
        )
    assert "2 of 10 requests also stand in the training data" in done.output
    assert isinstance(done.exception, GateFailed)
    assert done.exception.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no --model"), (("--model", "m"), "no --base-url"), (("--model", "m", "--base-url", "http://x"), "no set"),
        (("--compare", "a", "a"), "two different"), (("--compare", "a", "b", "--model", "m"), "no --model"),
    ],
)  # fmt: skip
def test_the_command_says_what_is_missing(arguments: tuple[str, ...], words: str):
    done = callwright(*arguments)
    assert isinstance(done.exception, InvalidInput)
    assert words in str(done.exception)


def test_a_refused_key_is_the_users_fault(tmp_path: Path):
    path = str(requests(tmp_path / "seen.jsonl"))
    with OpenAIServer(lambda body: Raw("no", 401)) as server:
        done = callwright(path, "--base-url", server.base_url, "--model", "m", "--api-key", "sk-secret")
    assert isinstance(done.exception, InvalidInput)
    assert "refused the API key" in str(done.exception)
    assert "sk-secret" not in done.output + str(done.exception)


def test_the_job_names_each_flag_that_is_wrong():
    done = job("--spec", "x.yaml", "--run", "", "--base-url", "x", "--timeout-seconds", "soon")
    assert done.returncode == 2
    assert "--run: got ''" in done.stderr
    assert "--timeout-seconds: got 'soon'" in done.stderr
    assert "Traceback" not in done.stderr
