"""Protocols beside S3's to test the store against: Azure's own emulator where it is installed, and Google's XML API.

Google's XML API is S3's with generations for conditions: moto's server answers behind a front that keeps those.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from buckets import BUCKET, Front, answer

AZURITE = "azurite-blob"
"""Azure's emulator, of npm's package `azurite`: 365 MB, so nothing installs it by itself."""
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's account and key, which everybody knows."""


@contextlib.contextmanager
def azure_server() -> Iterator[None]:
    """Run Azure's emulator with a container `BUCKET` and point the environment at it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
    server = subprocess.Popen([AZURITE, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_container(port)
        with _environment(
            "AZURE_STORAGE_", ACCOUNT_NAME=_ACCOUNT, ACCOUNT_KEY=_KEY, ENDPOINT=f"http://127.0.0.1:{port}/{_ACCOUNT}"
        ):
            yield
    finally:
        server.terminate()
        server.wait(30)


def _make_container(port: int) -> None:
    """Create the container, once the server listens, by a request signed with the shared key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = [f"{name}:{value}" for name, value in headers.items()]
    text = "\n".join(["PUT", *[""] * 11, *signed, f"/{_ACCOUNT}/{_ACCOUNT}/{BUCKET}", "restype:container"])
    digest = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("PUT", f"/{_ACCOUNT}/{BUCKET}?restype=container", headers=headers)
            status = connection.getresponse().status
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"{AZURITE} does not listen"
            time.sleep(0.1)
        finally:
            connection.close()
    assert status == 201


@contextlib.contextmanager
def google_server(s3: str) -> Iterator[None]:
    """Speak Google's XML API in front of the S3 server `s3` and point the environment at it."""
    with _Generations(s3) as front:
        account = {"gcs_base_url": front.url, "disable_oauth": True, "client_email": "", "private_key": ""}
        account |= {"private_key_id": "", "client_id": ""}
        with _environment("GOOGLE_", SERVICE_ACCOUNT_KEY=json.dumps(account)):
            yield


@contextlib.contextmanager
def _environment(prefix: str, **values: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(prefix)]:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(prefix + name, value)
        yield


class _Generations(Front):
    """A front of an S3 server that gives every object a generation and holds writes to the one they ask for."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1_700_000_000_000_000)
        self._generations: dict[str, int] = {}

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        parts = urlsplit(request.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        whole = (request.command == "PUT" and not query) or (request.command == "POST" and "uploadId" in query)
        with self._lock:  # a condition and its write are one step
            there, asked = self._generations.get(parts.path, 0), request.headers.get("x-goog-if-generation-match")
            if asked is not None and int(asked) != there:
                return answer(request, 412, b"<Error><Code>PreconditionFailed</Code></Error>", {})
            status, headers, data = self._passed_on(request, body)
            if whole and status < 300:
                self._generations[parts.path] = next(self._numbers)
            elif request.command == "DELETE" and not query:
                self._generations.pop(parts.path, None)
            if parts.path in self._generations:
                headers["x-goog-generation"] = str(self._generations[parts.path])
        answer(request, status, data, headers)

    def _passed_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = {name: value for name, value in request.headers.items() if name.lower() in ("range", "content-type")}
        kept["Authorization"] = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host"
        path, mark, query = request.path.partition("?")  # names come with every sign but letters and digits escaped
        status, headers, data = self.forward(request, quote(unquote(path)) + mark + query, body, kept)
        wanted = ["etag", "last-modified", "content-type", "content-range"]
        wanted += ["content-length"] if request.command == "HEAD" else []
        return status, {name: value for name, value in headers.items() if name in wanted}, data
