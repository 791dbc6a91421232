"""The controller's loop: watches documents and what they have in the cluster, and looks at each document that is due;
RayServices that leave their configuration to it likewise.

Decides when a document is looked at; `reconcile` decides what is done. Any event, and the time that a look asks for,
make a document due; a look that failed is made again, with growing patience.
"""

import threading
from collections.abc import Callable
from functools import partial

from callwright.controller import promotion
from callwright.controller.cluster import FINE_TUNE, JOB, RAY_JOB, RAY_SERVICE, Kind, Object
from callwright.controller.desired import FINE_TUNE_LABEL
from callwright.controller.metrics import Metrics
from callwright.controller.observed import is_held_up
from callwright.controller.patience import Patience
from callwright.controller.reconcile import Reconciler, has_ended
from callwright.controller.rollout import SERVE_CONFIG
from callwright.controller.watch import follow
from callwright.controller.work_queue import Key, WorkQueue

_WORKERS = 8
_AHEAD_SECONDS = 5
"""What somebody has changed goes ahead of what has become due within so many seconds before."""
_STOP_SECONDS = 30


class Controller:
    """Watches and acts until it is told to stop."""

    def __init__(self, reconciler: Reconciler, metrics: Metrics) -> None:
        self._reconciler, self._metrics = reconciler, metrics
        self._queue, self._services = WorkQueue(), WorkQueue()
        self._patience: dict[tuple[str, Key], Patience] = {}
        self._documents: set[Key] = set()
        self._threads: list[threading.Thread] = []

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; what is being looked at is looked at to its end."""
        workers = [
            self._thread(partial(self._work, self._queue, self._look), name=f"worker {number}")
            for number in range(_WORKERS)
        ]
        workers.append(self._thread(partial(self._work, self._services, self._settle), name="worker of services"))
        watched = (
            (FINE_TUNE, "", self._see_document),
            (RAY_JOB, FINE_TUNE_LABEL, self._see_child),
            (JOB, FINE_TUNE_LABEL, self._see_child),
            (RAY_SERVICE, "", self._see_service),
        )
        watchers = [
            self._thread(partial(self._watch, kind, namespace, selector, see, stop), name=f"watch {kind.plural}")
            for kind, selector, see in watched
            for namespace in self._reconciler.config.namespaces or (None,)
        ]
        self._threads = [*workers, *watchers]
        for thread in self._threads:
            thread.start()
        stop.wait()
        self._queue.close()
        self._services.close()
        for worker in workers:
            worker.join(_STOP_SECONDS)

    def healthy(self) -> bool:
        """Return whether no thread has ended."""
        return all(thread.is_alive() for thread in self._threads)

    def troubles(self) -> list[str]:
        """Return what cannot be watched, and why documents and services cannot be looked at, a line each."""
        return [patience.trouble for patience in list(self._patience.values()) if patience.trouble]

    def _thread(self, work: Callable[[], None], *, name: str) -> threading.Thread:
        return threading.Thread(target=work, name=name, daemon=True)  # a watch may last longer than the process

    def _watch(
        self,
        kind: Kind,
        namespace: str | None,
        selector: str,
        see: Callable[[Object, bool], None],
        stop: threading.Event,
    ) -> None:
        cluster = self._reconciler.cluster
        patience = self._patience_with("watch", (namespace or "", kind.plural), "watching")
        for found, there in follow(cluster, kind, namespace, selector=selector, patience=patience, stop=stop):
            see(found, there)

    def _see_document(self, document: Object, there: bool) -> None:
        key = document["metadata"]["namespace"], document["metadata"]["name"]
        status = document.get("status") or {}
        phase = status.get("phase", "Pending")
        self._metrics.see(key, phase if there else None, held_up=there and is_held_up(phase, status))
        asked = document.get("spec", {})  # not known of one that has gone while nobody watched
        model = asked.get("deploy", {}).get("model") or key[1]
        self._metrics.see_gpus(key, model, status.get("run"), status.get("gpuHours") or 0.0, there=there)
        if there:
            self._documents.add(key)
        else:
            self._documents.discard(key)
        if not (there and has_ended(document)):
            changed = there and status.get("observedGeneration") != document["metadata"]["generation"]
            self._queue.add(key, seconds=-_AHEAD_SECONDS if changed else 0)

    def _see_child(self, child: Object, there: bool) -> None:
        key = child["metadata"]["namespace"], child["metadata"]["labels"][FINE_TUNE_LABEL]
        if key in self._documents:
            self._queue.add(key)

    def _see_service(self, service: Object, there: bool) -> None:
        metadata = service["metadata"]
        if there and SERVE_CONFIG in (metadata.get("labels") or {}):
            self._services.add((metadata["namespace"], metadata["name"]))
        for name in promotion.brought_to(service) if there else ():
            if (metadata["namespace"], name) not in self._documents:  # it may have gone while nobody watched
                self._queue.add((metadata["namespace"], name))

    def _work(self, queue: WorkQueue, look: Callable[[Key], float | None]) -> None:
        while (key := queue.take()) is not None:
            queue.put_back(key, seconds=look(key))

    def _settle(self, key: Key) -> float | None:
        """See to the configuration of a RayService; returns the seconds until it is due again, if it failed."""
        try:
            self._reconciler.settle(*key)
        except Exception as error:  # noqa: BLE001 - no failure ends the work on a service
            return self._patience_with("rayservice", key).after(error)
        self._patience.pop(("rayservice", key), None)
        return None

    def _patience_with(self, kind: str, key: Key, doing: str = "looking at") -> Patience:
        made = Patience(f"{doing} {'/'.join(filter(None, key))}", self._metrics.count_failed)
        return self._patience.setdefault((kind, key), made)

    def _look(self, key: Key) -> float | None:
        """Look at the document; returns the seconds until it is due again, if it is."""
        try:
            with self._metrics.timed():
                seconds = self._reconciler.reconcile(*key)
        except Exception as error:  # noqa: BLE001 - no failure ends the work on a document
            patience = self._patience_with("finetune", key)
            seconds = patience.after(error)
            if patience.lasting(error):
                self._reconciler.tell(*key, error)
            return seconds
        self._patience.pop(("finetune", key), None)
        return seconds
