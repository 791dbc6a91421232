"""Real Ray Serve and a sidecar around replicas of a test's own, whose engines are scripted."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callwright.server import preflight
from callwright.server.config import ServerConfig
from callwright.server.replica import Replica
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Served


class Opened(threading.Event):
    """Set once a file exists: an event between processes."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def is_set(self) -> bool:
        return self._file.exists()


@contextmanager
def serving(replica: type[Replica], config: ServerConfig, **settings: Any) -> Iterator[str]:
    """Serves `config` with such replicas; gives the URL of a sidecar with these settings."""
    from callwright.server import app, runtime

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "Replica", replica)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # replicas import the test's module
        try:
            upstream = f"http://127.0.0.1:{config.port}"
            sidecar = SidecarConfig(upstream=upstream, **{"dialects": {"*": "react_en"}} | settings)
            with runtime.running(config, preflight.Stop()), Served(create_app(sidecar)) as served:
                yield served.url
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
