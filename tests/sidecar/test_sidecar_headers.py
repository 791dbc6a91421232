"""The engine's headers reach the client, whatever becomes of its answer; and who may ask from a web page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from asking import CALL, USER, WEATHER, Typed, TypedEngine
from starlette.middleware.cors import CORSMiddleware

from callwright.errors import InvalidInput
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig, check
from fakes import Engine, Raw, Served, Text

PAGE = "https://chat.example.com"
PREFLIGHT = {
    "origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization,x-mine",
}  # fmt: skip
TOLD = {
    "x-request-id": "r1",
    "x-ratelimit-remaining-requests": "7",
    "set-cookie": "a=b",
    "server-timing": "total;dur=3",
}
FUNCTION = WEATHER["function"]
MESSAGES_TOOL = {"name": "get_weather", "input_schema": FUNCTION["parameters"]}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": USER, "tools": [WEATHER]},
    "/v1/messages": {"messages": USER, "tools": [MESSAGES_TOOL], "max_tokens": 9},
    "/v1/responses": {"input": "Hi", "tools": [{"type": "function", **FUNCTION}]},
}


@contextmanager
def asking(answer: Any = None, **settings: Any) -> Iterator[tuple[httpx.Client, Engine]]:
    """A sidecar before an engine that tells the headers `TOLD`, and lets every page ask as vLLM does."""
    engine = TypedEngine(lambda request: Text([CALL]) if answer is None else answer)

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                told = TOLD | ({"retry-after": "30"} if message["status"] > 400 else {})
                message["headers"] += [(name.encode(), value.encode()) for name, value in told.items()]
            await send(message)

        await engine(scope, receive, tell)

    with Served(CORSMiddleware(telling, ["*"], allow_methods=["*"], allow_headers=["*"])) as upstream:
        config = SidecarConfig(upstream=upstream.url, dialects={"*": "react_en"}, **settings)
        with Served(create_app(config)) as served, httpx.Client(base_url=served.url) as client:
            client.headers["origin"] = PAGE
            yield client, engine


def single(answer: httpx.Response, name: str) -> str:
    (value,) = answer.headers.get_list(name)
    return value


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("tools", [True, False])
def test_the_engine_s_headers_reach_the_client(path: str, tools: bool) -> None:
    asked = {"model": "m", **ASKED[path]} | ({} if tools else {"tools": None})
    with asking() as (client, _):
        for stream in (False, True):
            answer = client.post(path, json=asked | {"stream": stream})
            kind = "text/event-stream" if stream and (tools or path.endswith("s")) else "application/json"
            assert answer.status_code == 200
            assert {name: single(answer, name) for name in TOLD} == TOLD
            assert single(answer, "access-control-allow-origin") == "*"
            assert single(answer, "vary") == "Origin"
            if tools:
                assert single(answer, "content-type").startswith(kind)


@pytest.mark.parametrize("path", ASKED)
def test_an_error_keeps_the_engine_s_headers(path: str) -> None:
    """Its own, and one that the sidecar makes of an answer that says nothing; of when to try again it knows more."""
    answers = [
        (Raw('{"error": {"message": "slow down"}}', 429), 429, "30"),
        (Raw('{"error": {"message": "too long"}}', 400), 400, None),
        (Typed("<p>Bad gateway</p>", 502, "text/html"), 503, "30"),
        (Typed("not here", 403), 403, "30"),
        (Raw('{"choices": 5}'), 503, "1"),
        (Raw("{"), 503, "1"),
    ]
    for given, status, retry in answers:
        with asking(given) as (client, _):
            answer = client.post(path, json={"model": "m", **ASKED[path]})
            assert answer.status_code == status
            assert {name: single(answer, name) for name in TOLD} == TOLD
            assert single(answer, "access-control-allow-origin") == "*"
            assert answer.headers.get_list("retry-after") == ([retry] if retry else [])
            assert len(answer.headers.get_list("content-type")) == len(answer.headers.get_list("content-length")) == 1


def test_a_page_may_ask_without_a_key_what_it_may_send() -> None:
    """The engine answers; a key is asked for with every other method."""
    with asking(api_keys=["first"]) as (client, engine):
        for path in (*ASKED, "/v1/models"):
            answer = client.options(path, headers=PREFLIGHT)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
            assert answer.headers["access-control-allow-headers"] == "authorization,x-mine"
        del client.headers["origin"]
        assert client.options("/v1/models").status_code == 200
        engine.paths.clear()
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "options"):
            assert client.request(method, "/v1/models").status_code == (200 if method == "options" else 401)
        assert (
            client.post("/v1/chat/completions", json={"model": "m"} | ASKED["/v1/chat/completions"]).status_code == 401
        )
        assert set(engine.paths) <= {"/v1/models"}


@pytest.mark.parametrize(("origins", "told"), [(f"http://localhost:3000, {PAGE}", PAGE), ("*", "*")])
def test_origins_that_are_set_say_whose_pages_may_ask(origins: str, told: str) -> None:
    with asking(api_keys=["first"], cors_origins=origins) as (client, engine):
        answer = client.options("/v1/chat/completions", headers=PREFLIGHT)
        assert (answer.status_code, single(answer, "access-control-allow-origin")) == (200, told)
        assert answer.headers["access-control-allow-headers"] == "authorization,x-mine"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert engine.paths == []
        key = {"authorization": "Bearer first"}
        for path, body in ASKED.items():
            for stream in (False, True):
                asked = {"model": "m", "stream": stream, **body}
                for tools in (body["tools"], None):
                    answer = client.post(path, json=asked | {"tools": tools}, headers=key)
                    assert (answer.status_code, single(answer, "access-control-allow-origin")) == (200, told)
                    assert single(answer, "access-control-expose-headers") == "*"
                    assert "Origin" in answer.headers["vary"]
                    assert single(answer, "x-request-id") == "r1"
        answers = [
            client.post("/v1/chat/completions", json=asked),
            client.post("/v1/chat/completions", content=b'{"tools"', headers=key),
            client.get("/healthz"),
        ]
        assert [answer.status_code for answer in answers] == [401, 400, 200]
        assert {single(answer, "access-control-allow-origin") for answer in answers} == {told}


def test_a_page_of_another_origin_may_not_ask_whatever_the_engine_says() -> None:
    with asking(cors_origins=["https://other.example.com"]) as (client, _):
        answers = [client.options("/v1/models", headers=PREFLIGHT), client.get("/v1/models")]
        asked = {"model": "m"} | ASKED["/v1/chat/completions"]
        answers += [client.post("/v1/chat/completions", json=asked | {"stream": stream}) for stream in (False, True)]
    assert [answer.status_code for answer in answers] == [400, 200, 200, 200]
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)


@pytest.mark.parametrize("origins", ["chat.example.com", f"{PAGE}/", "https://a,b", "HTTPS://a", "https://A"])
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(InvalidInput, match="cors_origins"):
        check({"cors_origins": origins})


def test_the_sidecar_s_own_paths_answer_to_get_alone() -> None:
    with asking() as (client, _):
        for path in ("/healthz", "/metrics", "/version"):
            assert client.get(path).status_code == client.head(path).status_code == 200
            assert client.post(path, content=json.dumps({})).status_code == 405
