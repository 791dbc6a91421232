"""A proxy before the real API server that answers some requests by a fault: a status, a reset, half of a body.

Does not know which requests matter: a function chooses.
"""

import http.client
import json
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = (
    "409", "410", "429", "500", "503", "a reset before the request", "a reset after it", "half of the body",
    "half of the JSON",
)  # fmt: skip
WATCH_FAULTS = ("an event of 410", "an event of 500", "half of an event")
Choose = Callable[[str], str | None]
"""From a call such as `PATCH finetunes/status` to the fault that it ends in, if any."""


def call_of(method: str, target: str) -> str:
    """Method and kind of a request: `GET finetunes`, `LIST jobs`, `WATCH jobs`, `PATCH finetunes/status`."""
    url = urlsplit(target)
    found = re.fullmatch(r"/apis?/(?:[^/]+/)?v\w+(?:/namespaces/[^/]+)?/([a-z]+)(/[^/]+)?(/[a-z]+)?", url.path)
    if found is None:
        return f"{method} {url.path}"
    kind, name, part = found.groups()
    if method == "GET" and name is None:
        method = "WATCH" if "watch=true" in url.query else "LIST"
    return f"{method} {kind}{part or ''}"


class FaultyApiServer:
    """Counts the calls and the faults that it made of them."""

    def __init__(self, upstream: str, choose: Choose) -> None:
        self.upstream, self.choose = urlsplit(upstream), choose
        self.calls: Counter[str] = Counter()
        self.faults: Counter[tuple[str, str]] = Counter()
        self.lock = threading.Lock()


@contextmanager
def faulty_api_server(upstream: str, choose: Choose) -> Iterator[tuple[str, FaultyApiServer]]:
    """The proxy's URL and the proxy, as long as the block lasts."""
    proxy = FaultyApiServer(upstream, choose)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyApiServer

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = call_of(self.command, self.path)
        with self.proxy.lock:
            self.proxy.calls[call] += 1
            fault = self.proxy.choose(call)
            if fault and call.startswith("WATCH") and fault in FAULTS[-3:]:
                fault = "half of an event"  # a watch has no end to cut off
            if fault:
                self.proxy.faults[call, fault] += 1
        match fault:
            case None:
                self._relay(body)
            case "a reset before the request":
                self._reset()
            case "no answer":
                self._relay(body, fault=fault)
                self.connection.settimeout(60)
                self.rfile.peek(1)  # until the client gives up
                self.close_connection = True
            case "409" | "410" | "429" | "500" | "503":
                status = {"kind": "Status", "code": int(fault), "reason": "Injected", "message": "a fault of the test"}
                self._answer(int(fault), json.dumps(status).encode(), later="1" if fault == "429" else None)
            case "an event of 410" | "an event of 500":
                code = int(fault[-3:])
                event = {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "a fault of the test"}}
                self._answer(200, json.dumps(event).encode() + b"\n")
            case "half of an event":
                self._answer(200, b'{"type": "MODIFIED", "object": {"apiVer')
            case _:
                self._relay(body, fault=fault)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base's names

    def _relay(self, body: bytes, *, fault: str | None = None) -> None:
        """Ask the API server, and pass on what it says, as it comes, or break it."""
        upstream = self.proxy.upstream
        connection = http.client.HTTPSConnection(
            upstream.hostname or "", upstream.port, context=ssl._create_unverified_context()
        )
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            if fault is None and answer.getheader("Transfer-Encoding") == "chunked":
                self._stream(answer)
                return
            data = answer.read()
            match fault:
                case None:
                    self._answer(answer.status, data)
                case "a reset after it":
                    self._reset()
                case "half of the body":
                    self._answer(answer.status, data[: len(data) // 2], length=len(data))
                    self._reset()
                case "half of the JSON":
                    self._answer(answer.status, data[: len(data) // 2])
        except (OSError, http.client.HTTPException):  # one side has gone
            self.close_connection = True
        finally:
            connection.close()

    def _stream(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while data := answer.read1(65536):
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, data: bytes, *, length: int | None = None, later: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        if later:
            self.send_header("Retry-After", later)
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)
