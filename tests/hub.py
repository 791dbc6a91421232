"""A Hugging Face hub on loopback with one model, for the hub's own client."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serving_hub(model: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the files of `folder` as the model's newest commit; yields the hub's URL, and the requests as they come."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            file = folder / self.path.rpartition("/")[2]
            if self.path.startswith(f"/api/models/{model}/tree/"):
                sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
                listed = [{"type": "file", "oid": "0", "path": name, "size": size} for name, size in sizes.items()]
                self._answer(json.dumps(listed).encode(), "json")
            elif self.path.startswith(f"/api/models/{model}"):
                self._answer(json.dumps({"id": model, "sha": COMMIT, "siblings": []}).encode(), "json")
            elif file.is_file():
                self._answer(file.read_bytes(), "octet-stream")
            else:
                self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"application/{kind}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hash(body):x}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
