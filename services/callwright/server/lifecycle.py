"""`python -m callwright.server.lifecycle COMMAND …`: what the containers of a pod do around an engine.

Init containers bring the base (`base`) and wait for the engine (`wait`), and `helm test` asks for the model (`check`).
Runs in every image: nothing here needs Ray, vLLM or an HTTP library.
"""

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from callwright.errors import CallwrightError, StageFailed, TimedOut
from callwright.store import Store, kept_base, resolve_base

_PAUSE_SECONDS = 2
_BUSY = ("callwright_active_requests", "callwright_waiting_requests")
"""Gauges of the sidecar that are above zero while it has requests."""

app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def base(
    model: str,
    link: Path,
    cache: Annotated[Path, typer.Option(help="Where what is fetched goes.")],
    revision: Annotated[str | None, typer.Option(help="Revision on the hub.")] = None,
    store: Annotated[str | None, typer.Option(help="Store that may keep the base of `--run`.")] = None,
    run: Annotated[str, typer.Option(help="Run whose base it is.")] = "",
) -> None:
    """Make `link` a symbolic link to the base's folder, because an engine takes neither a hub id nor a store URL."""
    where = kept_base(Store.open(store), run, model, revision) if store else (model, revision)
    found = resolve_base(*where, cache)
    link.unlink(missing_ok=True)
    link.symlink_to(found.absolute())


@app.command()
def wait(url: str, seconds: float) -> None:
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
        time.sleep(_PAUSE_SECONDS)


@app.command()
def check(url: str, model: str, api_keys: Annotated[str, typer.Option(envvar="API_KEYS")] = "") -> None:
    """Raise `StageFailed` when nothing answers at `url`, or the models that it lists lack `model`.

    The first of `api_keys`, a file as the sidecar reads it, that may ask for the model is sent.
    """
    key = _first_key(api_keys, model)
    headers = {"Authorization": f"Bearer {key}".encode().decode("latin-1")} if key else {}
    try:
        served = [each["id"] for each in json.loads(get(url, timeout=60, headers=headers))["data"]]
    except OSError as error:
        raise StageFailed(f"asking {url} for its models: {error}") from None
    if model not in served:
        raise StageFailed(f"asking {url} for its models: got {served}; expected {model}")


def is_busy(metrics: str) -> bool:
    """Return whether the sidecar whose metrics are at this URL has a request; one that does not answer has none."""
    try:
        lines = get(metrics, timeout=2).decode().splitlines()
    except OSError:
        return False
    return any(float(line.split()[-1]) for line in lines if line.startswith(_BUSY))


def _first_key(api_keys: str, model: str) -> str | None:
    """Return the first key, of lines such as `KEY` or `NAME: KEY models=ID,ID`, that may ask for the model."""
    lines = (line.strip() for line in api_keys.split("\n"))
    for line in (line for line in lines if line and not line.startswith("#")):
        words = line.split()
        key, *settings = words[1:] if words[0].endswith(":") else words
        models = [word.removeprefix("models=").split(",") for word in settings if word.startswith("models=")]
        if all(model in ids for ids in models):
            return key
    return None


def get(url: str, *, timeout: float, headers: dict[str, str] | None = None) -> bytes:
    """Return the body at `url`, past any proxy. Raises `OSError` without an answer or for an HTTP error."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as response:
        return bytes(response.read())


if __name__ == "__main__":
    try:
        app()
    except CallwrightError as error:
        sys.exit(f"error: {error}")
