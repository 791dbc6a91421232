"""What stands beside a key in the file: a name, models and limits, and what whoever comes with it may then ask for."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from asking import CALL, USER, WEATHER, Bench, bench
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

import kube
from callwright.errors import InvalidInput
from callwright.sidecar.errors import Refused
from callwright.sidecar.keys import Client, Keys, Limited, Terms, stable_name
from callwright.sidecar.rates import Bucket
from fakes import Raw, Text

TOOL = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
GENERATING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": USER, "tools": [WEATHER]},
    "/v1/messages": {"messages": USER, "tools": [TOOL], "max_tokens": 9},
    "/v1/responses": {"input": "Hi", "tools": [{"type": "function", **WEATHER["function"]}]},
    "/v1/completions": {"prompt": "Hi"},
}
ASKED = GENERATING | {
    "/v1/messages/count_tokens": {"messages": USER, "tools": [TOOL]},
    "/v1/embeddings": {"input": "Hi"},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [1]},
}


def keys_of(tmp_path: Path, text: str) -> Keys:
    file = tmp_path / "keys"
    file.write_text(text)
    return Keys(str(file))


@contextmanager
def serving(tmp_path: Path, text: str, answer: Any = CALL, **settings: Any) -> Iterator[Bench]:
    file = tmp_path / "keys"
    file.write_text(text)
    with bench(answer, api_keys_file=str(file), dialects={"*": "react_en", "m": "react_en"}, **settings) as b:
        yield b


def post(b: Bench, key: str, path: str = "/v1/chat/completions", **changes: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(b.url + path, json={"model": "m"} | ASKED[path] | changes, headers=headers, timeout=30)


def metrics(b: Bench) -> str:
    return httpx.get(f"{b.url}/metrics").text


def test_a_line_is_a_key_or_a_name_a_key_and_settings(tmp_path: Path) -> None:
    keys = keys_of(
        tmp_path,
        "plain\nuser:pass\n  team-a:\tsk-1\r\n"
        "team.b: sk-2  models=m,n@v1 requests-per-minute=60 tokens-per-minute=1000\n# no: key\n"
        "team-a: sk-3\n",
    )
    found = {key: keys.check(f"Bearer {key}") for key in ("plain", "user:pass", "sk-1", "sk-2", "sk-3")}
    assert found["sk-1"] is found["sk-3"]  # while a key is replaced both are valid
    assert [found[key].name for key in ("sk-1", "sk-2")] == ["team-a", "team.b"]
    assert found["sk-2"].terms == Terms(frozenset(("m", "n@v1")), 60, 1000)
    assert found["sk-1"].terms == found["plain"].terms == Terms()
    for bad in ("team-a", "team-a: sk-1", "sk-2 models=m,n@v1", "pass", "no: key", "key"):
        with pytest.raises(Refused):
            keys.check(f"Bearer {bad}")


def test_a_key_without_a_name_has_the_same_one_everywhere_that_tells_nothing_of_it(tmp_path: Path) -> None:
    names = [keys_of(tmp_path, text).check(None, "sk-secret").name for text in ("sk-secret\n", "a: b\n\nsk-secret")]
    assert names == ["key-" + names[0][4:]] * 2
    assert len(names[0]) == 12
    assert stable_name("sk-secret") == names[0] != stable_name("sk-secres")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("team-a:", "team-a has no key"),
        ("S3CRET models=m", "got several words, and no name before them"),
        ("team a: S3CRET", "got several words"),
        ("te/am: S3CRET", "the name has other signs"),
        (f"{'a' * 64}: S3CRET", "or over 63"),
        ("b: S3CRET S3CRET2", "word 2 after b: is no setting; expected KEY, or NAME: KEY"),
        ("b: S3CRET models=m, n", "has models= without an id"),
        ("b: S3CRET models=", "has models= without an id"),
        ("b: S3CRET requests-per-minute=0", "b has a requests-per-minute that is no whole number from 1"),
        ("b: S3CRET tokens-per-minute=1e6", "b has a tokens-per-minute that is no whole number"),
        ("b: S3CRET tokens-per-minute=-5", "is no whole number"),
        ("b: S3CRET rpm=5", "word 2 after b: is no setting"),
        ("b: S3CRET models=m models=n", "b has models twice"),
        ("b: first", "the key of b is that of a in line 2"),
        ("a: S3CRET models=m", "a has other settings than in line 2; expected the same"),
    ],
)
def test_a_line_that_is_none_is_an_error_that_says_which_and_no_key(line: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="line 4: ") as error:
        keys_of(tmp_path, f"# keys\na: first\n\n{line}\n")
    assert told in str(error.value)
    assert "S3CRET" not in str(error.value)


def test_keys_of_the_environment_have_no_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="ends in ':'"):
        Keys(None, [SecretStr("team-a:"), SecretStr("sk-1")])
    assert Keys(None, [SecretStr("sk-1")]).check(None, "sk-1").name == stable_name("sk-1")


def test_a_changed_file_keeps_what_was_used_and_a_line_gone_wrong_admits_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keys = keys_of(tmp_path, "a: sk-1 requests-per-minute=1\nb: sk-2\n")
    keys.check("Bearer sk-1").admit()
    (tmp_path / "keys").write_text("a: sk-9 requests-per-minute=1\nb: sk-2 S3CRET\nc: sk-3\n")
    now[0] += 2
    with pytest.raises(Limited):
        keys.check("Bearer sk-9").admit()
    keys.check("Bearer sk-3")
    for gone in ("sk-1", "sk-2"):
        with pytest.raises(Refused):
            keys.check(f"Bearer {gone}")
    (record,) = caplog.records
    assert "line 2: word 2 after b: is no setting" in record.getMessage()
    assert "S3CRET" not in record.getMessage()
    (tmp_path / "keys").write_text("a: sk-9 requests-per-minute=5\n")
    now[0] += 2
    keys.check("Bearer sk-9").admit()


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench with a key for two models, and one for all."""
    with serving(tmp_path_factory.mktemp("keys"), "a: sk-1 models=m,n\nb: sk-2\n") as b:
        b.engine.others["/tokenize"] = lambda body: Raw('{"count": 7}')
        yield b


@pytest.mark.parametrize("path", ASKED)
def test_a_model_that_is_not_the_key_s_is_no_model(path: str, limited: Bench) -> None:
    """Told as one that does not exist, and the engine is not asked."""
    limited.engine.bodies.clear()
    refused = [post(limited, "sk-1", path, model=model) for model in ("other", "nowhere", "M", "m@v1")]
    refused.append(post(limited, "sk-1", path, model="other", stream=True))
    assert {answer.status_code for answer in refused} == {404}
    assert refused[0].text.replace("other", "") == refused[1].text.replace("nowhere", "")
    error = refused[0].json()["error"]
    if path.startswith("/v1/messages"):
        assert error["type"] == "not_found_error"
    else:
        assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
    for none in (None, "", 5, ["m"]):
        assert post(limited, "sk-1", path, model=none).status_code == 400
    assert limited.engine.bodies == []
    assert post(limited, "sk-1", path).status_code == post(limited, "sk-2", path, model="other").status_code == 200


def test_the_list_of_models_is_the_key_s(tmp_path: Path) -> None:
    cards = [{"id": "m"}, {"id": "other"}, {"id": "n", "parent": "other", "root": "/models/other"}]
    with serving(tmp_path, "a: sk-1 models=m,n\nb: sk-2\n") as b:
        models = Raw(json.dumps({"object": "list", "data": cards}))
        b.engine.others["/v1/models"] = lambda body: models
        mine, all_of_them = (
            openai.OpenAI(base_url=f"{b.url}/v1", api_key=key).models.list().data for key in ("sk-1", "sk-2")
        )
        assert [[model.id for model in listed] for listed in (mine, all_of_them)] == [["m", "n"], ["m", "other", "n"]]
        assert "other" not in str(mine)
        for odd in (Raw("{"), Raw('{"data": 5}'), Raw('{"error": "other"}', 400)):
            b.engine.others["/v1/models"] = lambda body, odd=odd: odd
            answer = httpx.get(f"{b.url}/v1/models", headers={"x-api-key": "sk-1"})
            assert (answer.status_code, "other" in answer.text) == (503, False)


def test_where_the_model_can_t_be_told_a_key_with_models_does_not_come(tmp_path: Path) -> None:
    with serving(tmp_path, "a: sk-1 models=m\nb: sk-2\n", engine_paths=("POST /v1/audio/transcriptions",)) as b:
        paths = {
            key: httpx.post(f"{b.url}/v1/audio/transcriptions", headers={"x-api-key": key}) for key in ("sk-1", "sk-2")
        }
        assert {key: answer.status_code for key, answer in paths.items()} == {"sk-1": 404, "sk-2": 200}
        assert httpx.get(f"{b.url}/health", headers={"x-api-key": "sk-1"}).status_code == 200


def test_too_many_requests_are_429_with_the_time_to_wait(tmp_path: Path) -> None:
    text = "a: sk-1 requests-per-minute=2\nb: sk-2\nc: sk-3 requests-per-minute=3\n"
    with serving(tmp_path, text) as b:
        client = openai.OpenAI(base_url=f"{b.url}/v1", api_key="sk-1", max_retries=0)
        for _ in range(5):
            client.models.list()  # asks the engine for nothing that it works on
        for _ in range(2):
            client.chat.completions.create(model="m", messages=USER, tools=[WEATHER])
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="m", messages=USER, tools=[WEATHER])
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert "2 requests a minute" in refused.value.message
        assert 25 <= int(refused.value.response.headers["retry-after"]) <= 30
        with pytest.raises(anthropic.RateLimitError) as refused_too:
            anthropic.Anthropic(base_url=b.url, api_key="sk-1", max_retries=0).messages.create(
                model="m", messages=USER, max_tokens=5
            )
        assert refused_too.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
        assert 25 <= int(refused_too.value.response.headers["retry-after"]) <= 30
        assert post(b, "sk-2").status_code == 200
        assert [post(b, "sk-3", path).status_code for path in GENERATING] == [200, 200, 200, 429]
        assert len(b.engine.requests) == 6
        text = metrics(b)
    assert 'callwright_key_limited_requests_total{key="a",limit="requests"} 2.0' in text
    assert 'callwright_key_requests_total{key="a"} 9.0' in text
    assert 'callwright_key_requests_total{key="b"} 1.0' in text


def test_the_sdk_comes_again_when_it_was_told_to(tmp_path: Path) -> None:
    """By itself, by the header: no sooner, so that its second try is answered."""
    with serving(tmp_path, "a: sk-1 requests-per-minute=20\n") as b:
        client = openai.OpenAI(base_url=f"{b.url}/v1", api_key="sk-1", max_retries=1)
        while post(b, "sk-1").status_code == 200:
            pass
        before = len(b.engine.requests)
        client.chat.completions.create(model="m", messages=USER, tools=[WEATHER])
        assert len(b.engine.requests) == before + 1


def wait_for_tokens(b: Bench, key: str) -> None:
    """A stream's tokens are known when it has gone out, which its client sees first."""
    for kind, tokens in (("prompt", 7.0), ("completion", 5.0)):
        line = f'callwright_key_tokens_total{{key="{key}",kind="{kind}"}} {tokens}'
        kube.wait_until(lambda line=line: line in metrics(b), what=line)


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_counted_once_they_are_known(path: str, stream: bool, tmp_path: Path) -> None:
    with serving(tmp_path, "a: sk-1 tokens-per-minute=12\nb: sk-2\n") as b:
        told = '{"choices": [{"text": "x"}], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}'
        b.engine.others["/v1/completions"] = lambda body: Raw(told)
        assert post(b, "sk-1", path, stream=stream).status_code == 200
        wait_for_tokens(b, "a")
        refused = post(b, "sk-1", path, stream=stream)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] in ("4", "5")
        assert post(b, "sk-2", path, stream=stream).status_code == 200
        wait_for_tokens(b, "b")
        text = metrics(b)
    assert 'callwright_key_limited_requests_total{key="a",limit="tokens"} 1.0' in text


def test_a_stream_that_is_relayed_tells_its_usage_to_those_alone_who_ask(tmp_path: Path) -> None:
    with serving(tmp_path, "a: sk-1\n", lambda request: Text(["Hello there."])) as b:
        said = {"tools": None, "messages": USER, "stream": True}
        for options, shown in (
            ({}, 0),
            ({"stream_options": None}, 0),
            ({"stream_options": {"include_usage": True}}, 1),
        ):
            text = post(b, "sk-1", **said | options).text
            assert text.count('"usage"') == shown
            assert text.endswith("data: [DONE]\n\n")
            assert "\n\n\n" not in text
            assert b.engine.requests[-1]["stream_options"] == {"include_usage": True}
        assert 'callwright_key_tokens_total{key="a",kind="completion"} 15.0' in metrics(b)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), max_size=30), st.integers(1, 100))
@settings(deadline=None)
def test_no_more_than_a_minute_s_worth_above_the_rate_is_ever_taken(steps: list[tuple[float, int]], rate: int) -> None:
    now, taken = [1000.0], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now[0])
        bucket = Bucket(rate)
        for passed, amount in steps:
            now[0] += passed
            wait = bucket.seconds_until(amount)
            if wait == 0:
                bucket.take(amount)
                taken += amount
            elif amount <= rate:
                now[0] += wait + 1e-6
                assert bucket.seconds_until(amount) == 0
            assert taken <= rate + (now[0] - 1000.0) * rate / 60 + 1e-3


def test_what_is_owed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    client = Client("a", Terms(tokens_per_minute=60))
    client.admit()
    client.spend(180)
    with pytest.raises(Limited) as limited:
        client.admit()
    assert limited.value.retry_after == 121
    now[0] += 121
    client.admit()
