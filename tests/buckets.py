"""An S3 server to test against (moto's, over HTTP, on this machine), and a proxy in front of it that breaks things."""

import contextlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import pytest

BUCKET = "callwright-tests"
Fault = Literal["500", "slow down", "reset", "truncated", "upload reset"]


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


class FaultyProxy:
    """Passes requests on to a server, except those that `choose` answers with a fault."""

    def __init__(self, upstream: str, choose: Callable[[str, str], Fault | None]) -> None:
        self.choose = choose
        """Called with method and path of every request."""
        self.faults = 0
        """Requests that were broken."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy._handle(self, upstream.removeprefix("http://"))

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FaultyProxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler, upstream: str) -> None:
        fault = self.choose(request.command, request.path)
        self.faults += fault is not None
        length = int(request.headers.get("Content-Length") or 0)
        if fault == "upload reset":
            request.rfile.read(length // 2)
            return _reset(request)
        body = request.rfile.read(length)
        if fault in ("500", "slow down"):
            status, code = (500, "InternalError") if fault == "500" else (503, "SlowDown")
            return _answer(request, status, f"<Error><Code>{code}</Code></Error>".encode(), {})
        connection = http.client.HTTPConnection(upstream, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        connection.request(request.command, request.path, body=body, headers=headers)
        response = connection.getresponse()
        data = response.read()
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
        connection.close()
        if fault in ("reset", "truncated"):
            _answer(request, response.status, data[: len(data) // 2], kept | {"Content-Length": str(len(data))})
            return _reset(request) if fault == "reset" else _close(request)
        if request.command == "HEAD":
            kept["Content-Length"] = response.getheader("Content-Length") or "0"
        _answer(request, response.status, data, kept)


_HOP = ("connection", "transfer-encoding", "content-length", "date", "server")


def _answer(request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in ({"Content-Length": str(len(data))} | headers).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)
        request.wfile.flush()


def _reset(request: BaseHTTPRequestHandler) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _close(request)


def _close(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    with contextlib.suppress(OSError):
        request.connection.shutdown(socket.SHUT_RDWR)
    request.connection.close()
