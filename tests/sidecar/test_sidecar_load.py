"""The sidecar under strain: many streams, slow readers, full queues, keys, limits, silence and the end of its life."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Engine, Served, Text
from sidecar_process import answers, resident_bytes, started

TOOL = {"type": "function", "function": {"name": "get", "parameters": {"properties": {"n": {"type": "integer"}}}}}
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]}
STREAMS = 500


@pytest.fixture
def engine() -> Iterator[tuple[Engine, str]]:
    """An engine that calls the tool with the number that stands in the request's user message."""

    def answer(request: dict[str, Any]) -> Text:
        number = request["messages"][-1]["content"].split()[-1]
        return Text([f'Thought: it is {number}.\nAction: get\nAction Input: {{"n": {number}}}'], size=3)

    fake = Engine(answer)
    with Served(fake) as served:
        yield fake, served.url


def sidecar(url: str, **settings: Any) -> Served:
    return Served(create_app(SidecarConfig(upstream=url, dialects={"*": "react_en"}, **settings)))


def events(text: str) -> list[Any]:
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def arguments(text: str) -> str:
    chunks = [choice for event in events(text)[:-1] for choice in event["choices"]]
    return "".join(c["function"]["arguments"] for chunk in chunks for c in chunk["delta"].get("tool_calls", ()))


def test_many_streams_are_neither_lost_nor_mixed_up(engine: tuple[Engine, str]) -> None:
    async def ask(client: httpx.AsyncClient, url: str, number: int) -> str:
        body = BODY | {"stream": True, "messages": [{"role": "user", "content": f"Get {number}"}]}
        answer = await client.post(f"{url}/v1/chat/completions", json=body)
        assert answer.text.endswith("data: [DONE]\n\n")
        return arguments(answer.text)

    async def ask_all(url: str) -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            return await asyncio.gather(*(ask(client, url, number) for number in range(STREAMS)))

    fake, url = engine
    together, answer, arrived = threading.Event(), fake.answer, itertools.count(1)

    def hold_until_all_are_here(request: dict[str, Any]) -> Text:
        if next(arrived) == STREAMS:
            together.set()
        return dataclasses.replace(answer(request), hold=together)

    fake.answer = hold_until_all_are_here
    with started(url, "--dialect", "*=react_en", "--connect-seconds", "60") as (_, address):
        answers = asyncio.run(ask_all(address))
    assert [json.loads(text) for text in answers] == [{"n": number} for number in range(STREAMS)]


def test_a_full_queue_is_429_and_a_place_is_given_back(engine: tuple[Engine, str]) -> None:
    hold = threading.Event()
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=hold)
    with sidecar(url, max_concurrent=1, max_queued=0) as served, httpx.Client(timeout=30) as client:
        with client.stream("POST", f"{served.url}/v1/chat/completions", json=BODY | {"stream": True}) as first:
            pieces = first.iter_bytes()
            next(pieces)
            refused = client.post(f"{served.url}/v1/chat/completions", json=BODY)
            assert refused.status_code == 429
            assert refused.headers["retry-after"]
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert "callwright_active_requests 1.0" in client.get(f"{served.url}/metrics").text
            hold.set()
            assert b"[DONE]" in b"".join(pieces)
        assert client.post(f"{served.url}/v1/chat/completions", json=BODY).status_code == 200


def test_whoever_waits_and_leaves_takes_no_place(engine: tuple[Engine, str]) -> None:
    hold = threading.Event()
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=hold)
    with sidecar(url, max_concurrent=1, max_queued=5) as served, httpx.Client(timeout=30) as client:
        endpoint = f"{served.url}/v1/chat/completions"
        with client.stream("POST", endpoint, json=BODY | {"stream": True}) as first:
            pieces = first.iter_bytes()
            next(pieces)
            with pytest.raises(httpx.ReadTimeout):
                client.post(endpoint, json=BODY, timeout=0.3)
            hold.set()
            assert b"[DONE]" in b"".join(pieces)
        assert client.post(endpoint, json=BODY).status_code == 200
        assert "callwright_active_requests 0.0" in client.get(f"{served.url}/metrics").text


@pytest.mark.parametrize("tools", [[TOOL], None])
def test_clients_that_stop_reading_stop_the_engine(engine: tuple[Engine, str], tools: Any) -> None:
    """Bounded memory: the engine can't get further ahead than what sockets and one read buffer hold."""
    fake, url = engine
    fake.answer = lambda request: Text(["x"])
    body = json.dumps(BODY | {"stream": True, "tools": tools}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with started(url, "--dialect", "*=react_en") as (process, address), contextlib.ExitStack() as clients:
        httpx.post(f"{address}/v1/chat/completions", content=body)  # what a first request loads is no request's memory
        at_first = resident_bytes(process.pid)
        fake.answer, fake.sent = lambda request: Text(["x" * 20_000_000], size=2_000), 0
        for _ in range(10):
            client = socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])))
            clients.enter_context(client).sendall(head.encode() + body)
            client.recv(1000)
        before = -1
        while fake.sent != before:  # until the engine stands still
            before = fake.sent
            time.sleep(0.5)
        assert 0 < fake.sent < 10 * 8_000, "of 100,000"
        assert resident_bytes(process.pid) - at_first < 10 * 2**20
        assert answers(f"{address}/healthz")


def test_silence_is_filled_with_comments(engine: tuple[Engine, str]) -> None:
    hold = threading.Event()
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=hold)
    with (
        sidecar(url, keep_alive_seconds=0.05) as served,
        httpx.stream("POST", f"{served.url}/v1/chat/completions", json=BODY | {"stream": True}) as stream,
    ):
        text = ""
        for piece in stream.iter_text():
            text += piece
            if ": keep-alive" in text:
                hold.set()
    assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events(text)[:-1]) == "Hello there."


def test_an_engine_that_falls_silent_is_a_timeout(engine: tuple[Engine, str]) -> None:
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=threading.Event())
    with sidecar(url, silent_seconds=0.3) as served:
        whole = httpx.post(f"{served.url}/v1/chat/completions", json=BODY)
        streamed = httpx.post(f"{served.url}/v1/chat/completions", json=BODY | {"stream": True})
    assert whole.status_code == 504
    assert streamed.status_code == 200
    assert "silent" in events(streamed.text)[-1]["error"]["message"]


def test_keys_are_checked_and_change_without_a_restart(engine: tuple[Engine, str], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# the team's\nfirst\nsecond\n")
    with sidecar(engine[1], api_keys_file=str(file)) as served:

        def ask(key: str | None, path: str = "/v1/models") -> int:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            return httpx.get(served.url + path, headers=headers).status_code

        assert [ask("first"), ask("second"), ask("third"), ask(None)] == [200, 200, 401, 401]
        assert ask(None, "/healthz") == 200
        file.write_text("third\n")
        end = time.monotonic() + 10
        while ask("first") != 401:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert ask("third") == 200
    assert "authorization" not in engine[0].headers[-1]


def test_large_bodies_are_refused_before_they_are_read(engine: tuple[Engine, str]) -> None:
    with sidecar(engine[1], max_body_bytes=2048) as served:
        endpoint = f"{served.url}/v1/chat/completions"
        declared = httpx.post(endpoint, content=b"x" * 4096)
        chunked = httpx.post(endpoint, content=(b"x" * 512 for _ in range(8)))
    assert declared.status_code == chunked.status_code == 413
    assert declared.json()["error"]["code"] == "request_too_large"
    assert engine[0].bodies == []


def test_sigterm_lets_streams_finish(engine: tuple[Engine, str]) -> None:
    hold = threading.Event()
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=hold)
    with started(url, "--dialect", "m=react_en") as (process, address):
        clients = [httpx.Client(timeout=60) for _ in range(50)]
        request = httpx.Request("POST", f"{address}/v1/chat/completions", json=BODY | {"stream": True})
        streams = [client.send(request, stream=True) for client in clients]
        process.send_signal(signal.SIGTERM)
        while answers(f"{address}/readyz"):
            time.sleep(0.05)
        hold.set()
        assert all("[DONE]" in stream.read().decode() for stream in streams)
        assert process.wait(30) == 0


@pytest.mark.parametrize("tools", [[TOOL], None])
def test_sigterm_ends_what_does_not_finish_with_an_error(
    engine: tuple[Engine, str], tools: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=threading.Event())
    body = BODY | {"stream": True, "tools": tools}
    with (
        started(url, "--dialect", "m=react_en", "--drain-seconds", "1") as (process, address),
        httpx.Client() as client,
    ):
        streams = [
            client.send(httpx.Request("POST", f"{address}/v1/chat/completions", json=body), stream=True)
            for _ in range(3)
        ]
        process.send_signal(signal.SIGTERM)
        for stream in streams:
            *_, error = events(stream.read().decode())
            assert "shutting down" in error["error"]["message"]
        assert process.wait(30) == 0
        assert fake.left.wait(5)
    logged = capfd.readouterr().err
    assert logged.count("a request to /v1/chat/completions has not finished") == 3
    assert "Traceback" not in logged


def test_one_stream_that_breaks_leaves_the_others(engine: tuple[Engine, str]) -> None:
    hold = threading.Event()
    fake, url = engine

    def answer(request: dict[str, Any]) -> Text:
        broken = "break" in request["messages"][-1]["content"]
        return Text(["Hello there."], break_after=3) if broken else Text(["Hello there."], hold=hold)

    fake.answer = answer
    with sidecar(url) as served, httpx.Client(timeout=30) as client:
        endpoint = f"{served.url}/v1/chat/completions"
        with client.stream("POST", endpoint, json=BODY | {"stream": True}) as other:
            pieces = other.iter_text()
            next(pieces)
            content = [{"role": "user", "content": "Please break"}]
            broken = client.post(endpoint, json=BODY | {"stream": True, "messages": content})
            assert events(broken.text)[-1]["error"]["type"] == "engine_unavailable"
            hold.set()
            assert "[DONE]" in "".join(pieces)
        assert client.post(endpoint, json=BODY).status_code == 200


def test_a_client_that_leaves_before_a_whole_answer_ends_the_engine_s_work(engine: tuple[Engine, str]) -> None:
    fake, url = engine
    fake.answer = lambda request: Text(["Hello there."], hold=threading.Event())
    with sidecar(url) as served:
        for body in (BODY, BODY | {"tools": None}):
            fake.left.clear()
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=0.3)
            assert fake.left.wait(5)


@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_an_engine_that_is_down_is_503_with_retry_after(how: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as engine, contextlib.ExitStack() as filling:
        address = engine.getsockname()
        if how == "refuses":
            engine.close()
        else:  # as a pod that is gone: what connects gets no answer at all
            for _ in range(8):
                waiting = filling.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(address)
        with sidecar(f"http://127.0.0.1:{address[1]}") as served, httpx.Client(timeout=30) as client:
            assert client.get(f"{served.url}/readyz").status_code == 503
            for body in (BODY, BODY | {"stream": True}, BODY | {"tools": None}):
                answer = client.post(f"{served.url}/v1/chat/completions", json=body)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert answer.json()["error"]["type"] == "engine_unavailable"


def test_a_port_in_use_is_the_user_s_error(engine: tuple[Engine, str]) -> None:
    port = engine[1].rsplit(":", 1)[1]
    command = [sys.executable, "-m", "callwright.sidecar", "--port", port]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"CALLWRIGHT_STORE": ""}
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: listening on 127.0.0.1:{port}")
    wrong = subprocess.run([*command, "--dialect", "m=klingon"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "react_en" in wrong.stderr


def test_it_ends_with_its_parent(engine: tuple[Engine, str]) -> None:
    with started(engine[1], "--until-stdin-closes") as (process, _):
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0
