"""A merge that is killed leaves nothing that loads; the next one finishes it and keeps what is whole."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from plain_merge import run_merge
from tiny_adapters import make_adapter

from callwright.errors import Conflict, NotFound
from callwright.store import FileEntry, Registry, Store

KILLS = 50
SHARD_BYTES = 4000


Merge = Callable[[str, float | None], int]
"""Merges into a version, killed after so many seconds unless None; returns the process's exit status."""


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store, in memory where there is a folder of it: a killed process's writes stay, on a disk or not."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Store.open(Path(folder).as_uri())


@pytest.fixture
def merge(pair: tuple[Path, Path], store: Store) -> Iterator[Merge]:
    """Merges in processes of their own."""
    assert store.root is not None
    nursery = Path(__file__).with_name("merge_nursery.py")
    command = [sys.executable, str(nursery), store.root.as_uri(), str(pair[0]), str(pair[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "{}\n"

        def run(version: str, kill_after: float | None) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"version": version, "kill_after": kill_after}) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def files(store: Store, version: str) -> dict[str, FileEntry]:
    return dict(Registry(store).manifest("m", version).files)


def test_killed_at_any_moment_it_is_invisible_or_whole_and_the_next_run_finishes_it(merge: Merge, store: Store) -> None:
    registry = Registry(store)
    assert merge("whole", None) == 0
    took = []
    for number in range(3):
        began = time.monotonic()
        assert merge(f"timed{number}", None) == 0
        took.append(time.monotonic() - began)
    seconds = min(took)
    expected, rng, killed = files(store, "whole"), random.Random(0), 0
    for number in range(KILLS):
        version = f"v{number}"
        killed += merge(version, rng.uniform(0, seconds)) != 0
        visible = [summary.version for summary in registry.versions("m")]
        if version in visible:
            assert registry.verify("m", version) == []
        else:
            with pytest.raises(NotFound):
                registry.manifest("m", version)
        assert merge(version, None) == 0
        assert files(store, version) == expected
        assert registry.verify("m", version) == []
    assert killed >= KILLS // 5  # else the moments missed the merge
    assert store.root is not None
    left = {path.name for path in (store.root / "models/m/versions/v0").iterdir()}
    assert left == {*expected, "manifest.json"}


class InterruptedMergeError(Exception):
    """Stands for a crash, in this process."""


def crash_half_way(done: int, total: int, what: str) -> None:
    """A merge's progress callback that ends the merge in its middle."""
    if done > total / 2:
        raise InterruptedMergeError


def test_the_next_run_keeps_the_shards_that_are_whole(pair: tuple[Path, Path], store: Store) -> None:
    with pytest.raises(InterruptedMergeError):
        run_merge(store, *pair, shard_bytes=SHARD_BYTES, tolerance=None, on_progress=crash_half_way)
    assert store.root is not None
    folder = store.root / "models/m/versions/v1"
    written = {path.name: path.stat().st_ino for path in folder.glob("*.safetensors")}
    assert written
    begun: list[int] = []
    manifest = run_merge(
        store, *pair, shard_bytes=SHARD_BYTES, tolerance=None, on_progress=lambda done, *_: begun.append(done)
    )
    assert {name: (folder / name).stat().st_ino for name in written} == written
    assert len(written) < len([name for name in manifest.files if name.endswith(".safetensors")])
    assert begun[0] > sum(manifest.files[name].size for name in written) / 2  # progress goes on, not from nothing
    assert Registry(store).verify("m", "v1") == []


def test_what_another_adapter_left_is_not_taken_up(pair: tuple[Path, Path], store: Store, tmp_path: Path) -> None:
    other = make_adapter(tmp_path / "other", pair[0], r=2)
    with pytest.raises(InterruptedMergeError):
        run_merge(store, pair[0], other, shard_bytes=SHARD_BYTES, tolerance=None, on_progress=crash_half_way)
    run_merge(store, *pair, shard_bytes=SHARD_BYTES, tolerance=None)
    run_merge(store, *pair, version="fresh", shard_bytes=SHARD_BYTES, tolerance=None)
    assert files(store, "v1") == files(store, "fresh")


def test_of_two_merges_at_once_one_wins_and_the_other_says_so(pair: tuple[Path, Path], store: Store) -> None:
    first_is_in, second_is_done = threading.Event(), threading.Event()

    def wait_in_the_middle(done: int, total: int, what: str) -> None:
        first_is_in.set()
        second_is_done.wait(30)

    outcome: list[object] = []
    first = threading.Thread(
        target=lambda: outcome.append(run_merge(store, *pair, tolerance=None, on_progress=wait_in_the_middle))
    )
    first.start()
    assert first_is_in.wait(30)
    try:
        with pytest.raises(Conflict, match=r"is at it; wait for it, or choose another version"):
            run_merge(store, *pair, tolerance=None)
    finally:
        second_is_done.set()
        first.join(30)
    assert outcome == [run_merge(store, *pair, tolerance=None)]  # published already: given back as it is
