"""The node's cache: bounded, shared between processes and versions, and never half there."""

import contextlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callwright.errors import InvalidInput, Unavailable
from callwright.store import Bound, Cache, Manifest, Store, cache_room, fetch, fetch_file, fetch_folder
from callwright.store.backend import Buffer
from versions import publish_version

MB = 1024**2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cache"
    Cache(tmp_path / "cache").release()


def publish(store: Store, version: str, size: int = MB, *, name: str = "m", **files: bytes) -> Manifest:
    """A version with a weight of its own of `size` bytes, beside `files`."""
    content = {"model.safetensors": os.urandom(size)} | {f"{path}.json": data for path, data in files.items()}
    return publish_version(store, version, content, name=name)


def used(store: Store, version: str, cache: Path, bound: Bound | None = None, *, name: str = "m") -> Path:
    """Fetch a version, and let go of it."""
    folder = fetch(store, name, version, cache, bound=bound)
    Cache(cache).release()
    return folder


@contextlib.contextmanager
def holding(store: Store, version: str, cache: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that uses a version."""
    command = [sys.executable, "-c", _HOLDER, store.url, version, str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


_HOLDER = """
import sys, time
from pathlib import Path
from callwright.store import Store, fetch
fetch(Store.open(sys.argv[1]), "m", sys.argv[2], Path(sys.argv[3]))
print("held", flush=True)
time.sleep(600)
"""


def versions(cache: Path) -> set[str]:
    return {path.name.rpartition("-")[0] for path in cache.glob("*/*") if path.is_dir()}


def size(cache: Path) -> int:
    found = {path.lstat().st_ino: path.lstat().st_blocks * 512 for path in cache.rglob("*") if not path.is_dir()}
    return sum(found.values())


def test_what_was_used_longest_ago_makes_room(store: Store, cache: Path) -> None:
    """By when it was used last, not fetched."""
    bound = Bound(most_bytes=3 * MB + MB // 2)
    for version in ("v1", "v2", "v3", "v4", "v5"):
        publish(store, version)
    for version in ("v1", "v2", "v3", "v1", "v4"):
        used(store, version, cache, bound)
        assert size(cache) <= 3 * MB + MB // 2
    assert versions(cache) == {"v1", "v3", "v4"}
    used(store, "v5", cache, bound)
    assert versions(cache) == {"v1", "v4", "v5"}


def test_a_clock_that_jumps_decides_nothing(store: Store, cache: Path) -> None:
    bound = Bound(most_bytes=2 * MB + MB // 2)
    for number, version in enumerate(("v1", "v2", "v3")):
        publish(store, version)
        folder = used(store, version, cache, bound)
        for path in (*cache.rglob("*"), folder):
            os.utime(path, (10**9 - number, 10**9 - number))
    assert versions(cache) == {"v2", "v3"}


def test_six_promotions_of_a_version_of_a_third_of_the_bound_stay_within_it(store: Store, cache: Path) -> None:
    bound = Bound(most_bytes=6 * MB)
    for number in range(8):
        publish(store, f"v{number}", 2 * MB - 32 * 1024)
        used(store, f"v{number}", cache, bound)
        assert size(cache) <= 6 * MB
    assert versions(cache) == {"v5", "v6", "v7"}


def test_a_version_in_use_is_not_touched_and_what_then_does_not_fit_says_so(store: Store, cache: Path) -> None:
    bound = Bound(most_bytes=3 * MB)
    for version, length in (("v1", 2 * MB), ("v2", MB // 2), ("v3", 2 * MB)):
        publish(store, version, length)
    held = fetch(store, "m", "v1", cache, bound=bound)
    before = {path: path.stat().st_ino for path in held.iterdir()}
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, store.url, "v2", str(cache)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InvalidInput) as raised:
            fetch(store, "m", "v3", cache, bound=bound)
        needed = f"{2 * MB:,}"
        assert f"it needs {needed} bytes; the cache {cache} may have {3 * MB:,} bytes, of which" in str(raised.value)
        assert "raise cacheBytes (the chart's workers.cache.size)" in str(raised.value)
        assert versions(cache) == {"v1", "v2"}  # nothing went for what does not fit in any case
        other.kill()
    assert {path: path.stat().st_ino for path in held.iterdir()} == before
    Cache(cache).release()
    used(store, "v3", cache, bound)
    assert versions(cache) == {"v3", "v2"}


def test_what_a_killed_process_held_is_free(store: Store, cache: Path) -> None:
    bound = Bound(most_bytes=MB + MB // 2)
    for version in ("v1", "v2"):
        publish(store, version)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, store.url, "v1", str(cache)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InvalidInput, match="are in use"):
            fetch(store, "m", "v2", cache, bound=bound)
        holder.kill()
    used(store, "v2", cache, bound)
    assert versions(cache) == {"v2"}


def test_bytes_of_the_disk_stay_free(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("v1", "v2", "v3"):
        publish(store, version)
    disk = 4 * MB
    monkeypatch.setattr(cache_room, "_free_bytes", lambda folder: disk - size(folder))
    for version in ("v1", "v2", "v3"):
        used(store, version, cache, Bound(free_bytes=MB + MB // 2))
        assert disk - size(cache) >= MB + MB // 2
    assert versions(cache) == {"v2", "v3"}
    with pytest.raises(InvalidInput, match=r"the disk of the cache .* stay free \(cacheFreeBytes\); make room on it"):
        fetch(store, "m", "v1", cache, bound=Bound(free_bytes=4 * MB))
    assert versions(cache) == {"v2", "v3"}


def test_what_comes_keeps_others_from_the_room_that_it_will_need(store: Store, cache: Path) -> None:
    node = Cache(cache, Bound(most_bytes=3 * MB))
    publish(store, "v1", MB)

    def fill(staged: Path) -> None:
        node.reserve(staged, {"model.safetensors": 2 * MB + MB // 2}, {})
        assert size(cache) < MB  # nothing is written as yet
        with pytest.raises(InvalidInput, match="it needs"):
            fetch(store, "m", "v1", cache, bound=Bound(most_bytes=3 * MB))

    node.entry("m/v2", fill)
    node.release()
    used(store, "v1", cache, Bound(most_bytes=3 * MB))


def test_a_child_that_was_forked_takes_no_hold_away(store: Store, cache: Path) -> None:
    """Such as an engine's process, whose copy of a replica ends."""
    for version in ("v1", "v2"):
        publish(store, version)
    fetch(store, "m", "v1", cache)
    child = multiprocessing.get_context("fork").Process(target=Cache(cache).release)
    child.start()
    child.join()
    assert child.exitcode == 0
    with pytest.raises(InvalidInput, match="are in use"):
        fetch(store, "m", "v2", cache, bound=Bound(most_bytes=MB + MB // 2))


def test_a_base_that_changes_while_it_is_copied_is_not_taken_for_one(store: Store, cache: Path) -> None:
    store.put_bytes("base/config.json", b"{}")
    store.put_bytes("base/model.safetensors", b"one")
    read = store.backend.read_range

    def change(key: str, start: int, length: int) -> Buffer:
        store.put_bytes("base/model.safetensors", b"another")
        return read(key, start, length)

    store.backend.read_range = change  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match=r"copying .*/base: it changed meanwhile"):
        fetch_folder(store, "base", cache, "base")
    store.backend.read_range = read  # type: ignore[method-assign]
    assert (fetch_folder(store, "base", cache, "base") / "model.safetensors").read_bytes() == b"another"
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_files_that_versions_share_are_fetched_and_counted_once(store: Store, cache: Path) -> None:
    """Of another version and within one, also under another name; a version's end leaves the others whole."""
    shared = os.urandom(2 * MB)
    publish(store, "v1", embeddings=shared)
    publish(store, "v2", embeddings=shared)
    publish(store, "w1", tied=shared, head=shared, name="other")
    read = _reads(store)
    first = fetch(store, "m", "v1", cache)
    read.clear()
    second = used(store, "v2", cache)
    third = used(store, "w1", cache, name="other")
    assert {key.rpartition("/")[2] for key in read} == {"model.safetensors"}
    paths = (first / "embeddings.json", second / "embeddings.json", third / "tied.json", third / "head.json")
    assert {path.stat().st_ino for path in paths} == {paths[0].stat().st_ino}
    publish(store, "v3")
    used(store, "v3", cache, Bound(most_bytes=5 * MB + MB // 2))  # the shared bytes would stay if v1 alone went
    assert size(cache) <= 5 * MB + MB // 2
    assert all(path.read_bytes() == shared for path in paths if path.exists())
    assert fetch(store, "m", "v2", cache) == second


def _reads(store: Store) -> list[str]:
    """Keys of the objects that are read from now on."""
    keys: list[str] = []
    read = store.backend.read_range
    store.backend.read_range = lambda key, start, length: (keys.append(key), read(key, start, length))[1]  # type: ignore[method-assign, func-returns-value]
    return keys


def test_a_version_that_shares_all_needs_no_room(store: Store, cache: Path) -> None:
    content = {"model.safetensors": os.urandom(MB)}
    for version in ("v1", "v2"):
        publish_version(store, version, content)
    bound = Bound(most_bytes=MB + 64 * 1024)
    held = fetch(store, "m", "v1", cache, bound=bound)
    again = fetch(store, "m", "v2", cache, bound=bound)
    assert (held / "model.safetensors").samefile(again / "model.safetensors")


def test_a_disk_without_hard_links_has_copies(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = os.urandom(1000)
    publish(store, "v1", a=shared, b=shared)
    publish(store, "v2", a=shared)

    def refuse(*given: object, **more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = fetch(store, "m", "v1", cache), fetch(store, "m", "v2", cache)
    assert [path.read_bytes() for path in (first / "a.json", first / "b.json", second / "a.json")] == [shared] * 3


def test_bases_and_corpora_come_into_the_same_cache(store: Store, cache: Path) -> None:
    for path, data in {"config.json": b"{}", "model.safetensors": bytes(MB), "code.py": b""}.items():
        store.put_bytes(f"base/{path}", data)
    store.put_bytes("corpus.jsonl", b"{}\n")
    base = fetch_folder(store, "base", cache, "base")
    assert {path.name for path in base.iterdir()} == {"config.json", "model.safetensors"}
    assert fetch_file(store, "corpus.jsonl", cache).read_bytes() == b"{}\n"
    publish(store, "v1", 2 * MB)
    with pytest.raises(InvalidInput, match="it needs"):
        fetch(store, "m", "v1", cache, bound=Bound(most_bytes=5 * MB // 2))
    Cache(cache).release()
    used(store, "v1", cache, Bound(most_bytes=5 * MB // 2))
    assert not base.exists()


def test_what_is_whole_in_a_cache_that_nobody_may_write_is_used(
    store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a volume that was filled beforehand and is mounted read-only."""
    publish(store, "v1")
    folder = used(store, "v1", cache)

    def refuse(*given: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("callwright.store.files._opened", refuse)
    assert fetch(store, "m", "v1", cache) == folder
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"using the cache .*Read-only"):
        fetch(store, "m", "v1", cache)


def test_versions_of_other_models_with_any_name_are_no_entries_marks(store: Store, cache: Path) -> None:
    """Names of models and versions, and files of a version, may look like what the cache names for itself."""
    for name in ("lock", "a.part-b", "cache", "m.lock", "adapters"):
        publish_version(store, "v1.part-x", {"x.lock": b"1", "y/part": b"2"}, name=name)
        fetch(store, name, "v1.part-x", cache)
    publish(store, "v2")
    used(store, "v2", cache)
    for name in ("lock", "a.part-b", "cache", "m.lock", "adapters"):
        assert len(list((cache / name).glob("v1.part-x-*/x.lock"))) == 1
