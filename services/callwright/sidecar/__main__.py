"""`python -m callwright.sidecar --upstream URL [--store URL] [--model ID=NAME@VERSION] [--dialect ID=NAME]`."""

import argparse
import contextlib
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import threading
import warnings

import uvicorn

from callwright.errors import CallwrightError, InvalidInput
from callwright.sidecar import audit
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig, check
from callwright.sidecar.connections import connection_class
from callwright.store import Registry, Store

_M_MMAP_THRESHOLD = -3
_COLLECTED = (5000, 4, 50)
"""How many new objects the collector looks through at once, and after how many times at those that are left: a large
request is many, and all wait meanwhile."""
_TURN_SECONDS = 0.001
"""How long a thread that computes makes the event loop wait for its turn."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m callwright.sidecar", description=__doc__)
    for name in (name for name in SidecarConfig.model_fields if name != "api_keys"):
        flag, action = "--" + name.replace("_", "-"), "append" if name in ("models", "dialects") else "store"
        parser.add_argument(flag.removesuffix("s") if action == "append" else flag, dest=name, action=action)
    parser.add_argument("--until-stdin-closes", action="store_true", help="also stop when standard input ends")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    watch = given.pop("until_stdin_closes")
    try:
        keys = os.environ.get("CALLWRIGHT_API_KEYS")
        if keys is not None:
            given["api_keys"] = keys.replace(",", " ").split()
        config = check({"store": os.environ.get("CALLWRIGHT_STORE") or None} | given)
        if config.audit:
            audit.write_to_stdout()
        app = create_app(config, Registry(Store.open(config.store)) if config.store else None)
        listening = _listen(config)
    except CallwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # uvicorn drains, then raises the signal again for who was there before: let that be a plain exit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if watch:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    # What Python finds doubtful in a client's regular expression is nobody's business here.
    warnings.simplefilter("ignore", FutureWarning)
    _give_back_large_blocks()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the collector need not look at it during requests
    gc.set_threshold(*_COLLECTED)
    sys.setswitchinterval(_TURN_SECONDS)
    drain = int(config.drain_seconds)
    settings = uvicorn.Config(
        app, http=connection_class(config), access_log=False, log_level="warning", ws="none", proxy_headers=False,
        timeout_graceful_shutdown=drain,
    )  # fmt: skip
    uvicorn.Server(settings).run(sockets=[listening])
    return 0


def _listen(config: SidecarConfig) -> socket.socket:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is an open file
    try:
        return socket.create_server((config.host, config.port), backlog=2048)
    except OSError as error:
        where = f"{config.host}:{config.port}"
        raise InvalidInput(f"listening on {where}: {error.strerror}; choose another port") from None


def _give_back_large_blocks() -> None:
    """Let the C library (glibc's) map each body by itself, so that it is the system's again once it is freed."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, 256 * 1024)


def _stop_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):  # not through sys.stdin, whose lock is held at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
