"""What a client with a key may ask of the engine: which paths, which numbers, how much of each."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from asking import CALL, USER, WEATHER, Bench, bench

from callwright.errors import InvalidInput
from callwright.sidecar.config import check

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RELAYED: dict[str, Any] = {"model": "m", "messages": USER}
TRANSLATED = RELAYED | {"tools": [WEATHER]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "p"}
MESSAGE = TRANSLATED | {"max_tokens": 5, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
RESPONSE: dict[str, Any] = {"model": "m", "input": "p", "tools": [{"type": "function", "name": "f"}]}


@pytest.fixture(scope="module")
def engine() -> Iterator[Bench]:
    with bench(CALL, engine_paths="POST /v1/audio/speech, GET /v1/audio/voices") as b:
        yield b


def raw(b: Bench, method: str, target: str, body: bytes = b"{}") -> int:
    """The status for a target that is sent as it is written."""
    where = urlsplit(b.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("POST", path) for path in (
            "/scale_elastic_ep", "/sleep", "/wake_up", "/v1/load_lora_adapter", "/collective_rpc",
            "/reset_prefix_cache",
            "/update_weights", "/start_profile", "/pause", "/abort_requests", "/invocations", "/inference/v1/generate",
            "/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions", "/v1/chat%2Fcompletions",
            "/v1/chat/./completions", "/v1/messages/../../scale_elastic_ep", "/v1/messages/%2e%2e/%2e%2e/sleep",
            "/v1/chat/completions/../../../sleep", "/v1/chat/completions;x", "/V1/chat/completions", "/v1/models",
            "/%76%31/completions", "/v1/messages/batches", "/v1/completions%00", "/v1/completions%0d%0ax", "/", "/*",
        )),
        *(("GET", path) for path in (
            "/metrics/", "/docs", "/openapi.json", "/server_info", "/load", "/health/", "/-/routes", "/tokenizer_info",
            "/v1/models/", "/v1/models/m", CHAT, COMPLETIONS, "/v1/responses/resp_1", "/v1/audio/speech",
        )),
        *((method, CHAT) for method in ("PUT", "DELETE", "PATCH", "HEAD", "TRACE", "PROPFIND", "post")),
        ("OPTIONS", "/scale_elastic_ep"), ("OPTIONS", "*"), ("HEAD", "/scale_elastic_ep"),
        ("POST", "http://engine:8000/scale_elastic_ep"), ("POST", "http://engine/v1/../sleep"),
    ],
)  # fmt: skip
def test_what_is_not_open_is_404_and_never_reaches_the_engine(method: str, target: str, engine: Bench) -> None:
    before = len(engine.engine.paths)
    assert raw(engine, method, target) in (400, 404, 405)
    assert engine.engine.paths[before:] == []


def test_what_is_open_reaches_the_engine_as_it_is_written(engine: Bench) -> None:
    before = len(engine.engine.paths)
    asked = [
        ("GET", "/v1/models"), ("GET", "/v1/models?x=%20y"), ("HEAD", "/v1/models"), ("OPTIONS", CHAT),
        ("GET", "/health"), ("POST", COMPLETIONS), ("POST", "/v1/embeddings"),
        ("POST", "/tokenize"), ("POST", "/detokenize"),
        ("POST", "/v1/audio/speech"), ("GET", "/v1/audio/voices"), ("POST", "http://elsewhere/v1/completions"),
    ]  # fmt: skip
    for method, target in asked:
        assert raw(engine, method, target) == 200, target
    assert engine.engine.paths[before:] == [urlsplit(target).path for _, target in asked]
    told = httpx.post(f"{engine.url}/sleep").json()["error"]
    assert (told["code"], told["message"]) == ("not_found", "nothing is served at POST /sleep")
    assert httpx.post(f"{engine.url}/v1/messages/batches").json()["type"] == "error"


@pytest.mark.parametrize("paths", ["/v1/x", "POST", "POST v1/x", "post /v1/x", "POST /v1/x y", "POST /x?y", ","])
def test_a_path_of_the_engine_is_given_with_its_method(paths: str) -> None:
    with pytest.raises(InvalidInput, match="engine_paths"):
        check({"engine_paths": paths})


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1" * 400 + ".0"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, RELAYED), (CHAT, TRANSLATED), (COMPLETIONS, COMPLETION), ("/v1/messages", MESSAGE),
        ("/v1/responses", RESPONSE), ("/v1/messages/count_tokens", MESSAGE), ("/v1/embeddings", {"input": "p"}),
        ("/tokenize", {"prompt": "p"}),
    ],
)  # fmt: skip
def test_a_number_that_is_not_finite_is_400_in_any_field(number: str, path: str, body: Any, engine: Bench) -> None:
    before = len(engine.engine.paths)
    for field in ({"temperature": 0.125}, {"logit_bias": {"5": 0.125}}, {"vllm_xargs": {"x": [[0.125]]}}):
        answer = httpx.post(engine.url + path, content=json.dumps(body | field).replace("0.125", number))
        assert (answer.status_code, number[:40] in answer.json()["error"]["message"]) == (400, True)
    assert engine.engine.paths[before:] == []
    said = body | {"messages": [{"role": "user", "content": f"What is {number}?"}], "temperature": 1e-999}
    assert httpx.post(engine.url + path, json=said).status_code != 400


@pytest.mark.parametrize(
    ("change", "param"),
    [
        *(({key: value}, key) for key in ("n", "best_of") for value in (0, -1, 65, 16384, True, "9", 2.0, [2], 10**30)),
        *(({key: value}, key) for key in ("top_logprobs", "prompt_logprobs") for value in (21, -1, "5", 10**30)),
        ({"logprobs": 21}, "logprobs"),
        *(({key: value}, key) for key in ("stop", "stop_sequences", "bad_words")
          for value in (["a"] * 65, ["a"] * 100_000, ["a", "b" * 1025], "c" * 1025)),
        ({"stop_token_ids": [1] * 1025}, "stop_token_ids"),
        ({"allowed_token_ids": [1] * 1025}, "allowed_token_ids"),
        ({"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
        ({"messages": USER * 4097}, "messages"),
        ({"input": [{"role": "user", "content": "x"}] * 4097}, "input"),
        ({"prompt": ["p"] * 257}, "prompt"),
        ({"prompt": [[1]] * 257}, "prompt"),
        ({"prompt": ["p"] * 5, "n": 64}, "prompt"),
        ({"prompt": ["p"] * 5, "best_of": 64}, "prompt"),
        ({"prompt_embeds": ["p"] * 257}, "prompt_embeds"),
        ({"input": ["p"] * 257}, "input"),
    ],
)  # fmt: skip
def test_a_request_over_a_limit_is_400_and_names_the_field(change: Any, param: str, engine: Bench) -> None:
    before = len(engine.engine.paths)
    for path, body in ((CHAT, RELAYED), (CHAT, TRANSLATED), (COMPLETIONS, COMPLETION)):
        answer = httpx.post(engine.url + path, json=body | change)
        told = answer.json()["error"]
        assert (answer.status_code, told["param"], told["message"].partition(":")[0]) == (400, param, param)
    assert engine.engine.paths[before:] == []


def test_what_is_within_the_limits_passes(engine: Bench) -> None:
    for change in (
        {"n": 64, "top_logprobs": 20, "logprobs": True, "stop": ["a" * 1024] * 64, "logit_bias": {"1": -100}},
        {"n": None, "stop": None, "logprobs": None, "logit_bias": None, "best_of": None},
        {"prompt": ["p"] * 64, "n": 4, "logprobs": 0}, {"prompt": list(range(10_000))}, {"prompt": [], "input": []},
        {"input": [1] * 10_000}, {"stop": "END", "seed": -1, "temperature": 0, "top_p": 1.0},
    ):  # fmt: skip
        assert httpx.post(engine.url + COMPLETIONS, json=COMPLETION | change).status_code == 200, change


def test_limits_are_settings() -> None:
    with bench(CALL, max_choices=2, max_stops=1, max_messages=2) as b:
        for change in ({"n": 3}, {"stop": ["a", "b"]}, {"messages": USER * 3}):
            assert httpx.post(b.url + CHAT, json=RELAYED | change).status_code == 400
        assert httpx.post(b.url + CHAT, json=RELAYED | {"n": 2, "stop": ["a"]}).status_code == 200


def test_a_relayed_request_that_is_no_json_object_is_400(engine: Bench) -> None:
    before = len(engine.engine.paths)
    for body in (b"", b"7", b"[]", b"{", b"[" * 50_000, b'{"a":' * 50_000, b"\xff\xfe"):
        for path in (CHAT, COMPLETIONS, "/tokenize"):
            assert httpx.post(engine.url + path, content=body).status_code == 400
    assert engine.engine.paths[before:] == []
