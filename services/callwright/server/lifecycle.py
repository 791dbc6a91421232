"""`python -m callwright.server.lifecycle COMMAND …`: what the containers of a pod do around an engine.

Init containers bring the base (`base`) and wait for the engine (`wait`), `preStop` lets answers end (`drain`), and
`helm test` asks for the model (`check`). Runs in every image: nothing here needs Ray, vLLM or an HTTP library.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from callwright.errors import CallwrightError, StageFailed, TimedOut
from callwright.store import resolve_base

_BUSY = ("callwright_active_requests", "callwright_waiting_requests")
"""Gauges of the sidecar that are above zero while it has requests."""


def link_base(model: str, link: Path, *, revision: str | None = None, cache: Path) -> None:
    """Make `link` a symbolic link to the base's folder, fetched into `cache`. Raises as `resolve_base` does.

    An engine takes a folder, not a hub's id or a store's URL.
    """
    found = resolve_base(model, revision, cache)
    link.unlink(missing_ok=True)
    link.symlink_to(found.absolute())


def wait(url: str, *, seconds: float, pause_seconds: float = 2) -> None:
    """Return once `url` answers with success. Raises `TimedOut` after `seconds`.

    A container that keeps crashing is restarted for ever; this one fails the pod instead.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            get(url, timeout=5)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"waiting for {url}: no answer in {seconds:g} s: {error}; see the log of the container `engine`"
                ) from None
        time.sleep(pause_seconds)


def drain(url: str, *, seconds: float, pause_seconds: float = 2) -> None:
    """Return once the sidecar whose metrics are at `url` has no request left or does not answer, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(pause_seconds)
        try:
            lines = get(url, timeout=2).decode().splitlines()
        except OSError:
            return
        if not any(float(line.split()[-1]) for line in lines if line.startswith(_BUSY)):
            return


def check(url: str, model: str, *, api_key: str | None = None) -> None:
    """Raise `StageFailed` when nothing answers at `url`, or the models that it lists lack `model`."""
    try:
        served = [each["id"] for each in json.loads(get(url, timeout=60, api_key=api_key))["data"]]
    except OSError as error:
        raise StageFailed(f"asking {url} for its models: {error}") from None
    if model not in served:
        raise StageFailed(f"asking {url} for its models: got {served}; expected {model}")


def get(url: str, *, timeout: float, api_key: str | None = None) -> bytes:
    """The body at `url`, past any proxy. Raises `OSError` without an answer or for an HTTP error."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
        body: bytes = response.read()
    return body


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m callwright.server.lifecycle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    base = commands.add_parser("base", help="bring the base and link to it")
    base.add_argument("model")
    base.add_argument("link", type=Path)
    base.add_argument("--revision")
    base.add_argument("--cache", type=Path, required=True)
    for name, what in (("wait", "until URL answers"), ("drain", "until the sidecar's metrics at URL count no request")):
        command = commands.add_parser(name, help=what)
        command.add_argument("url")
        command.add_argument("seconds", type=float)
    asked = commands.add_parser("check", help="whether URL lists the model; $API_KEYS may hold keys, the first is sent")
    asked.add_argument("url")
    asked.add_argument("model")
    given = parser.parse_args()
    try:
        match given.command:
            case "base":
                link_base(given.model, given.link, revision=given.revision, cache=given.cache)
            case "wait":
                wait(given.url, seconds=given.seconds)
            case "drain":
                drain(given.url, seconds=given.seconds)
            case "check":
                check(given.url, given.model, api_key=next(iter(os.environ.get("API_KEYS", "").split()), None))
    except CallwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
