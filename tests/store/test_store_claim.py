"""Claims: one holder, freed by death, taken over only from the silent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import obstore
import pytest

from callwright.errors import Conflict
from callwright.store import Store, claimed
from callwright.store.claim import is_claimed

KEY = "models/m/versions/v1/claim.json"


def test_one_holds_it_at_a_time(opened: Callable[[], Store]) -> None:
    with claimed(opened(), KEY, lease_seconds=0.6) as claim:
        claim.check()
        assert is_claimed(opened(), KEY)
        with pytest.raises(Conflict, match=f"process {os.getpid()} on .* is at it"), claimed(opened(), KEY):
            pass
        claim.check()
    assert not is_claimed(opened(), KEY)
    with claimed(opened(), KEY):
        pass


def test_a_claim_leaves_nothing(opened: Callable[[], Store]) -> None:
    with pytest.raises(RuntimeError), claimed(opened(), KEY):
        raise RuntimeError
    assert opened().list() == []


def hold(url: str, held: Connection) -> None:
    with claimed(Store.open(url), KEY):
        held.send("held")
        signal.pause()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    holder = multiprocessing.get_context("forkserver").Process(target=hold, args=(tmp_path.as_uri(), there))
    holder.start()
    assert here.recv() == "held"
    store = Store.open(tmp_path.as_uri())
    with pytest.raises(Conflict, match=f"process {holder.pid}"), claimed(store, KEY):
        pass
    holder.kill()
    holder.join()
    assert not is_claimed(store, KEY)
    with claimed(store, KEY):
        assert is_claimed(store, KEY)


def test_a_silent_lease_is_taken_over_and_its_holder_told() -> None:
    store = Store.open("memory://")
    with claimed(store, KEY, lease_seconds=0.3) as first:
        store.backend.write = _refusing(store.backend.write)  # type: ignore[method-assign]
        with claimed(store, KEY, lease_seconds=0.3) as second:
            second.check()
            _until(lambda: _is_lost(first))
        assert not store.exists(KEY)


def test_a_lease_whose_answers_are_lost_is_held_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    put = obstore.put

    def twice(*arguments: Any, **options: Any) -> Any:
        put(*arguments, **options)
        return put(*arguments, **options)  # what is sent again after a lost answer

    monkeypatch.setattr(obstore, "put", twice)
    store = Store.open("memory://")
    with claimed(store, KEY, lease_seconds=0.3) as claim:
        for _ in range(2):
            before = store.read(KEY)
            _until(lambda before=before: store.read(KEY) != before)  # type: ignore[misc]
        claim.check()
    assert not store.exists(KEY)


def _refusing(write: Callable[..., str]) -> Callable[..., str]:
    """A store that does not hear the thread that renews the first lease."""
    mute = next(thread for thread in threading.enumerate() if thread.name == f"lease {KEY}")

    def refuse(key: str, data: bytes, **conditions: object) -> str:
        if threading.current_thread() is mute and _calls.append(0) is None and len(_calls) < 4:
            from callwright.errors import Unavailable

            raise Unavailable("unheard")
        return write(key, data, **conditions)

    _calls: list[int] = []
    return refuse


def _is_lost(claim: object) -> bool:
    try:
        claim.check()  # type: ignore[attr-defined]
    except Conflict:
        return True
    return False


def _until(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(200):
        if condition():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not come true in ten seconds")
