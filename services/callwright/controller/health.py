"""Answers `/healthz`: 200 while the controller's threads live, 503 when one has ended."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def start_health_server(port: int, healthy: Callable[[], bool]) -> None:
    """Serve on `port` in the background until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            body = b"ok\n" if healthy() else b"a thread of the controller has ended\n"
            self.send_response(200 if healthy() else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing: a probe comes every few seconds."""

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
