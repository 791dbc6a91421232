"""Pods of a RayService with sidecars, played: their metrics are real ones."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from callwright.controller.cluster import POD
from callwright.sidecar.admission import Gate
from callwright.sidecar.budget import Budget
from callwright.sidecar.telemetry import Metrics
from cast import RAY_CLUSTER, Play


class Sidecars:
    """Pods of a RayService whose sidecars tell real metrics."""

    def __init__(self, play: Play) -> None:
        self._play, self._told = play, list[Metrics]()
        self._servers: list[ThreadingHTTPServer] = []
        self.listed = [["m"]]
        """Ids that the engine has listed, answer after answer, the last of which stays."""

    def add(self) -> None:
        """One more pod, ready."""
        number, told, listed = len(self._told), self._told, self._listed
        told.append(Metrics(Gate(1, 1), Budget(1)))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path in ("/metrics", "/readyz") else 404)
                self.end_headers()
                self.wfile.write(told[number].text() if self.path == "/metrics" else listed())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = {"name": "openai", "containerPort": server.server_address[1]}
        spec = {
            "containers": [{"name": "ray-worker", "image": "none"}],
            "initContainers": [{"name": "sidecar", "image": "none", "restartPolicy": "Always", "ports": [port]}],
        }
        labels = {"ray.io/cluster": RAY_CLUSTER, "callwright.io/sidecar": "true"}
        metadata = {"name": f"worker-{number}", "namespace": self._play.namespace, "labels": labels}
        self._play.cluster.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self._play.report(POD, metadata["name"], {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]})

    def _listed(self) -> bytes:
        ids = self.listed.pop(0) if len(self.listed) > 1 else self.listed[0]
        return json.dumps({"status": "ready", "models": ids}).encode()

    def begin_anew(self, number: int) -> None:
        """A sidecar is started again, and has counted nothing yet."""
        self._told[number] = Metrics(Gate(1, 1), Budget(1))

    def fall_silent(self) -> None:
        """Nobody answers any more."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def see(
        self, version: str, *, ok: int = 0, failed: int = 0, calls: int = 0, malformed: int = 0, seconds: float = 0.1
    ) -> None:
        """Users have asked that version; each of the pods has counted its part."""
        for number, metrics in enumerate(self._told):
            share = [len(range(number, n, len(self._told))) for n in (ok, failed, calls, malformed)]
            metrics.answers.labels("ok", "weather", version).inc(share[0])
            metrics.answers.labels("failed", "weather", version).inc(share[1])
            metrics.calls.labels("t", "weather", version).inc(share[2])
            metrics.malformed_calls.labels("why", "weather", version).inc(share[3])
            for _ in range(share[0]):
                metrics.first_token.labels("weather", version).observe(seconds)
