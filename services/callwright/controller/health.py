"""Answers `/healthz`: 200 while the controller's threads live, with what it cannot look at, 503 when one has ended."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MOST = 50
"""Documents that are named."""


def start_health_server(port: int, healthy: Callable[[], bool], troubles: Callable[[], list[str]]) -> None:
    """Serve on `port` in the background until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            well = healthy()
            lines = ["ok" if well else "a thread of the controller has ended", *troubles()[:_MOST]]
            body = "".join(f"{line}\n" for line in lines).encode()
            self.send_response(200 if well else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing: a probe comes every few seconds."""

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
