"""Where processes listen, for tests of what a machine's neighbours can reach."""

import contextlib
from collections.abc import Iterable

import psutil


def beyond_loopback(pids: Iterable[int]) -> list[str]:
    """Each socket of the processes that listens on more than loopback: its address and its process's command."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for each in process.net_connections(kind="inet"):
                here = each.laddr and each.laddr.ip.removeprefix("::ffff:") in ("127.0.0.1", "::1")
                if each.status == psutil.CONN_LISTEN and not here:
                    found.append(f"{each.laddr.ip}:{each.laddr.port} {' '.join(process.cmdline())[:120]}")
    return found
