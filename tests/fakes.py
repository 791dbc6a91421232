"""Stand-ins for what tests cannot have for real: each small, over a real socket or file where the real thing is."""

import asyncio
import contextlib
import importlib.machinery
import itertools
import json
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# --- an OpenAI endpoint with scripted answers ---------------------------------------------------------------------


class Raw(bytes):
    """A body to send as it is, with a status."""

    status: int

    def __new__(cls, body: bytes | str, status: int = 200) -> Self:
        made = super().__new__(cls, body.encode() if isinstance(body, str) else body)
        made.status = status
        return made


def completion(
    content: str | None = None, calls: Sequence[tuple[str, Any]] = (), tokens: tuple[int, int] = (10, 5)
) -> dict[str, Any]:
    """A chat completion with text and calls; arguments that are no string are written as JSON."""
    tool_calls = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for n, (name, given) in enumerate(calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if tool_calls:
        message["tool_calls"] = tool_calls
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if tool_calls else "stop"}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


class OpenAIServer:
    """Serves `/v1/models` and `/v1/chat/completions` on 127.0.0.1; `answer` gets each request's body.

    It returns a document or `Raw`; it may wait for `closing`, which is set when the server stops.
    """

    def __init__(
        self, answer: Callable[[dict[str, Any]], dict[str, Any] | Raw], models: Sequence[str] | Raw = ("m",)
    ) -> None:
        self.closing = threading.Event()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                self._send(models if isinstance(models, Raw) else {"data": [{"id": name} for name in models]})

            def do_POST(self) -> None:
                raw = self.rfile.read(length := int(self.headers["content-length"]))
                if len(raw) < length:  # the client is gone
                    self.close_connection = True
                    return
                body = json.loads(raw)
                owner.requests.append(body)
                owner.headers.append({name.lower(): value for name, value in self.headers.items()})
                self._send(answer(body))

            def _send(self, reply: dict[str, Any] | Raw) -> None:
                raw = reply if isinstance(reply, Raw) else Raw(json.dumps(reply))
                self.send_response(raw.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client is gone
                    self.wfile.write(raw)
                    self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


# --- an engine that writes scripted text as vLLM does, and a real server to run it or the sidecar on ---------------


class Served:
    """Runs an ASGI application on uvicorn, in a thread, on a free port of 127.0.0.1."""

    def __init__(self, app: Any, **settings: Any) -> None:
        import uvicorn

        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", **settings)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self.server.started:
            self._thread.join(0.005)
            assert self._thread.is_alive(), "the server did not start"
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self._thread.join(10)
        if self._thread.is_alive():
            self.server.force_exit = True
            self._thread.join(5)


@dataclass
class Text:
    """What the fake engine writes: one text for each choice, cut into pieces of `size` characters."""

    choices: Sequence[str]
    size: int = 4
    finish: str = "stop"
    hold: threading.Event | None = None
    """After the first piece of text, wait for this."""
    break_after: int | None = None
    """Close the connection after so many events."""
    logprobs: bool = False


async def read_body(receive: Any) -> bytes:
    """The whole body of an ASGI request, or what came of it before its client left."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    return body


class Engine:
    """An ASGI application that answers chat completions as vLLM 0.32 does; `answer` gets each request's body."""

    def __init__(self, answer: Callable[[dict[str, Any]], "Text | Raw"]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.others: dict[str, Callable[[bytes], Raw]] = {}
        """What other paths answer; an echo otherwise."""
        self.left = threading.Event()
        """A client has left in the middle."""
        self.sent = 0
        """Events sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        self.bodies.append(body)
        self.paths.append(path)
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        if path in self.others:
            await self._whole(send, self.others[path](body))
            return
        if path != "/v1/chat/completions":
            listing = {"object": "list", "data": [{"id": "m", "object": "model"}]}
            await self._whole(
                send, Raw(json.dumps(listing if scope["method"] == "GET" else {"echo": body.decode(errors="replace")}))
            )
            return
        try:
            request = dict(json.loads(body))
        except (ValueError, TypeError, RecursionError):
            await self._whole(send, Raw('{"error": {"message": "not a request", "code": 400}}', 400))
            return
        self.requests.append(request)
        reply = self.answer(request)
        if isinstance(reply, Raw):
            await self._whole(send, reply)
        elif request.get("stream"):
            await self._stream(request, reply, receive, send)
        else:
            if reply.hold is not None:
                await self._held(reply.hold, receive)
            await self._whole(send, Raw(json.dumps(self._completion(reply))))

    async def _whole(self, send: Any, raw: Raw) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": raw.status, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(raw)})

    def _completion(self, reply: Text) -> dict[str, Any]:
        choices = [
            {
                "index": n,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": reply.finish,
                "stop_reason": None,
            }
            for n, text in enumerate(reply.choices)
        ]
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices} | {
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        }

    def _events(self, request: dict[str, Any], reply: Text) -> Iterator[dict[str, Any]]:
        for n in range(len(reply.choices)):
            yield {"choices": [{"index": n, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        pieces = [[text[i : i + reply.size] for i in range(0, len(text), reply.size)] for text in reply.choices]
        for row in itertools.zip_longest(*pieces):
            for n, piece in enumerate(row):
                if piece is not None:
                    logprobs = {"content": [{"token": piece, "logprob": -0.5}]} if reply.logprobs else None
                    choice = {"index": n, "delta": {"content": piece}, "logprobs": logprobs, "finish_reason": None}
                    yield {"choices": [choice]}
        for n in range(len(reply.choices)):
            yield {"choices": [{"index": n, "delta": {"content": ""}, "finish_reason": reply.finish}]}
        options = request.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}

    async def _stream(self, request: dict[str, Any], reply: Text, receive: Any, send: Any) -> None:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for n, event in enumerate(self._events(request, reply)):
            if n == reply.break_after:
                raise ConnectionError("as the test asked")
            if n == len(reply.choices) + 1 and reply.hold is not None and not await self._held(reply.hold, receive):
                return
            data = b"data: " + json.dumps(head | event, ensure_ascii=False).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})
            self.sent += 1
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _held(self, hold: threading.Event, receive: Any) -> bool:
        """Wait until the test lets go; False when the client left first."""
        gone = asyncio.ensure_future(receive())
        try:
            while not hold.is_set():
                await asyncio.wait((gone,), timeout=0.05)
                if gone.done():
                    self.left.set()
                    return False
            return True
        finally:
            gone.cancel()


class FakeMlflow(types.ModuleType):
    """The part of `mlflow` that transformers' callback uses; keeps what it was told, and may lose its server."""

    __version__ = "3.0.0"
    utils = types.SimpleNamespace(
        validation=types.SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)
    )

    def __init__(self, *, fails_at: int | None = None) -> None:
        super().__init__("mlflow")
        self.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
        self.run: str | None = None
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.ended = False
        self._fails_at = fails_at

    def is_tracking_uri_set(self) -> bool:
        return False

    def active_run(self) -> Any:
        return None if self.run is None else types.SimpleNamespace(info=types.SimpleNamespace(run_id="1"))

    def start_run(self, *, run_name: str, nested: bool) -> None:
        self.run = run_name

    def log_params(self, params: dict[str, Any], *, synchronous: bool) -> None:
        self.params |= params

    def log_metrics(self, *, metrics: dict[str, float], step: int, synchronous: bool) -> None:
        if step == self._fails_at:
            raise ConnectionError("no server")
        self.metrics.append((step, metrics))

    def end_run(self) -> None:
        self.ended = True
