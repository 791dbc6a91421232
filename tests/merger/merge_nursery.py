"""A process that imports the merger once and forks a merge for every line it reads, killing it when the line says so.

`python merge_nursery.py STORE BASE ADAPTER`; every line is JSON: `version`, and `kill_after` in seconds or null. It
answers with a line of JSON: the child's exit status, negative for a signal. It owns no threads, so forking it is safe.
"""

import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path

from plain_merge import run_merge

import callwright.merger.arithmetic  # noqa: F401 - before the forks: a merge is to be killed, not an import
from callwright.store import Store


def born(url: str, base: Path, adapter: Path, version: str) -> int:
    """Fork a process that merges; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        run_merge(Store.open(url), base, adapter, version=version, shard_bytes=4000, tolerance=None)
    except BaseException:  # noqa: BLE001 - whatever it is, the child must not go on as the nursery
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(url: str, base: str, adapter: str) -> None:
    """Serve merges until the input ends."""
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        child = born(url, Path(base), Path(adapter), asked["version"])
        if asked["kill_after"] is not None:
            handle = os.pidfd_open(child)
            select.select([handle], [], [], asked["kill_after"])
            os.close(handle)
            os.kill(child, signal.SIGKILL)
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
