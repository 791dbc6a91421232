"""An S3 server to test against (moto's, over HTTP, on this machine), and a proxy in front of it that breaks things."""

import contextlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self

import pytest

BUCKET = "callwright-tests"
Fault = Literal[
    "500", "slow down", "400", "412", "reset before", "upload reset", "answer lost", "reset", "truncated", "hang"
]
_STATUSES: dict[Fault, tuple[int, str]] = {
    "500": (500, "InternalError"),
    "slow down": (503, "SlowDown"),
    "400": (400, "InvalidRequest"),
    "412": (412, "PreconditionFailed"),
}
RESETS: tuple[Fault, ...] = ("reset before", "upload reset", "answer lost", "reset")
"""Before, in the middle of and after the request, and in the middle of its answer."""


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server with a bucket and point the environment at it; yields its URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", url)
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        try:
            yield url
        finally:
            server.stop()


class Front:
    """An HTTP server in front of another one; a subclass's `handle` answers each request."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.removeprefix("http://")
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                front.handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError

    def forward(
        self, request: BaseHTTPRequestHandler, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Send the request on; returns status, headers by their names in small letters, and body of the answer."""
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        connection.request(request.command, path, body=body, headers=headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, data


def answer(request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str]) -> None:
    """Answer with `data`, whose length is said unless the headers say another."""
    request.send_response_only(status)
    for name, value in ({"content-length": str(len(data))} | headers).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)
        request.wfile.flush()


class FaultyProxy(Front):
    """Passes requests on to a server, except those that `choose` answers with a fault."""

    def __init__(
        self,
        upstream: str,
        choose: Callable[[str, str], Fault | None],
        *,
        change_etag: Callable[[str], str | None] = lambda etag: etag,
    ) -> None:
        super().__init__(upstream)
        self.choose = choose
        """Called with method and path of every request."""
        self.change_etag = change_etag
        """What an answer's ETag becomes."""
        self._put = threading.Lock()  # moto compares and writes in two steps

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        fault = self.choose(request.command, request.path)
        length = int(request.headers.get("Content-Length") or 0)
        if fault == "reset before":
            return _reset(request)
        if fault == "upload reset":
            request.rfile.read(length // 2)
            return _reset(request)
        body = request.rfile.read(length)
        if fault in _STATUSES:
            status, code = _STATUSES[fault]
            return answer(request, status, f"<Error><Code>{code}</Code></Error>".encode(), {})
        sent = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        with self._put if request.command == "PUT" else contextlib.nullcontext():
            status, headers, data = self.forward(request, request.path, body, sent)
        if fault == "answer lost":
            return _reset(request)
        if fault == "hang":
            request.rfile.read(1)  # until the client leaves
            return _close(request)
        headers = {name: value for name, value in headers.items() if name not in ("connection", "transfer-encoding")}
        if (etag := headers.pop("etag", None)) and (etag := self.change_etag(etag)):
            headers["etag"] = etag
        if request.command != "HEAD":
            headers["content-length"] = str(len(data))
        if fault in ("reset", "truncated"):
            answer(request, status, data[: len(data) // 2], headers)
            return _reset(request) if fault == "reset" else _close(request)
        answer(request, status, data, headers)


def _reset(request: BaseHTTPRequestHandler) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _close(request)


def _close(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    with contextlib.suppress(OSError):
        request.connection.shutdown(socket.SHUT_RDWR)
    request.connection.close()
