"""The node's cache under faults: processes killed at any step, damaged files that versions share, links and pipes."""

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from callwright.errors import InvalidInput
from callwright.server.cache_watch import CacheWatch
from callwright.store import Bound, Cache, FileEntry, Store, fetch
from versions import publish_version

Figure = Callable[[str, object, object], None]
KB = 1024
_STEPS = frozenset("flock ftruncate fsync link mkdir open pwrite rename rmdir truncate unlink write".split())
"""Calls that a process can be killed before, to leave something half done."""
_FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cache"
    Cache(tmp_path / "cache").release()


def publish(store: Store, versions: int) -> dict[str, dict[str, bytes]]:
    """Versions with a weight of their own, one that all share, and one that every second shares."""
    drawn = random.Random(4)
    shared = drawn.randbytes(20 * KB), drawn.randbytes(20 * KB)
    made = {}
    for number in range(versions):
        content = {
            "model.safetensors": drawn.randbytes(40 * KB), "all.safetensors": shared[0],
            "some/half.safetensors": shared[1] if number % 2 else drawn.randbytes(20 * KB), "empty.json": b"",
        }  # fmt: skip
        publish_version(store, f"v{number}", content)
        made[f"v{number}"] = content
    return made


def whole(folder: Path, content: dict[str, bytes]) -> bool:
    return {path: (folder / path).read_bytes() for path in content} == content


def left(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if "#part-" in path.name or "#gone-" in path.name]


def size(cache: Path) -> int:
    return sum({path.lstat().st_ino: path.lstat().st_size for path in cache.rglob("*") if path.is_file()}.values())


def _killed_before(step: int) -> Callable[[FrameType, str, Any], None]:
    """Count the steps of this process, and kill it before one of them."""
    count = 0

    def profile(frame: FrameType, event: str, call: Any) -> None:
        nonlocal count
        if event == "c_call" and call.__name__ in _STEPS:
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return profile


def _fetch_until(step: int, url: str, cache: Path, bound: Bound) -> None:
    sys.setprofile(_killed_before(step))
    fetch(Store.open(url), "m", "v2", cache, bound=bound)
    os._exit(0)


def test_a_process_killed_at_any_step_leaves_nothing_half(store: Store, tmp_path: Path, figure: Figure) -> None:
    """It evicts one version, links to another's files, and fetches the rest: killed before each call in turn."""
    content, bound = publish(store, 4), Bound(most_bytes=220 * KB)
    steps = 0
    while True:
        steps += 1
        cache = tmp_path / f"cache{steps}"
        for version in ("v0", "v1"):
            fetch(store, "m", version, cache, bound=bound)
        Cache(cache).release()
        child = _FORK.Process(target=_fetch_until, args=(steps, store.url, cache, bound))
        child.start()
        child.join(60)
        for version in ("v3", "v2"):
            assert whole(fetch(store, "m", version, cache, bound=bound), content[version]), steps
            Cache(cache).release()
        assert not left(cache), steps
        assert size(cache) <= 220 * KB
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    figure(f"a fetch killed before each of its {steps - 1} steps: versions left half", 0, 0)
    assert steps > 50


def _fetch_for_ever(seed: int, url: str, cache: Path, bound: Bound, content: dict[str, dict[str, bytes]]) -> None:
    drawn = random.Random(seed)
    sys.setprofile(_killed_before(drawn.randrange(1, 2000)))
    wrong = 0
    for _ in range(12):
        version = drawn.choice(list(content))
        with suppress(InvalidInput):  # the others use what would have to go
            wrong += not whole(fetch(Store.open(url), "m", version, cache, bound=bound), content[version])
        if drawn.random() < 0.7:
            Cache(cache).release()
    os._exit(wrong)


@pytest.mark.slow
def test_fetches_and_evictions_of_many_processes_that_are_killed_serve_no_wrong_byte(
    store: Store, cache: Path, figure: Figure
) -> None:
    content, bound = publish(store, 8), Bound(most_bytes=420 * KB)
    codes = []
    for turn in range(10):
        children = [
            _FORK.Process(target=_fetch_for_ever, args=(turn * 5 + each, store.url, cache, bound, content))
            for each in range(5)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
            codes.append(child.exitcode)
        assert size(cache) <= 420 * KB
    killed = codes.count(-signal.SIGKILL)
    figure(
        f"50 processes fetch and evict at once, {killed} are killed: wrong files",
        sum(code or 0 for code in codes) + 9 * killed,
        0,
    )
    assert set(codes) <= {0, -signal.SIGKILL}
    assert killed > 3
    for version in content:
        assert whole(fetch(store, "m", version, cache, bound=bound), content[version])
        Cache(cache).release()
    assert not left(cache)
    assert {path.name.removesuffix("#0") for path in (cache / "m").iterdir()} == {
        path.name for path in (cache / "m").iterdir() if path.is_dir()
    }


def test_a_file_that_changed_in_the_cache_poisons_no_version_that_shares_it(store: Store, cache: Path) -> None:
    content = publish(store, 4)
    first, second = fetch(store, "m", "v0", cache), fetch(store, "m", "v1", cache)
    with (first / "all.safetensors").open("r+b") as file:
        file.write(b"poison")
    assert whole(fetch(store, "m", "v2", cache), content["v2"])  # whose link to it is verified
    assert fetch(store, "m", "v0", cache) == first
    assert whole(first, content["v0"])
    assert not whole(second, content["v1"])
    assert fetch(store, "m", "v1", cache) == second
    assert whole(second, content["v1"])
    assert not left(cache)


def test_a_replica_notices_a_file_that_another_version_s_replica_changed(store: Store, cache: Path) -> None:
    files = {path: FileEntry.of(data) for path, data in publish(store, 2)["v1"].items()}
    first, second = fetch(store, "m", "v0", cache), fetch(store, "m", "v1", cache)
    watch = CacheWatch(second, files, look_seconds=0.01, verify_seconds=3600)
    try:
        fetch(store, "m", "v0", cache)
        with (first / "all.safetensors").open("r+b") as file:
            file.write(b"poison")
        while watch.problem is None:
            watch._stopped.wait(0.01)
        assert "all.safetensors is not what was published" in watch.problem
    finally:
        watch.stop()


def test_links_and_pipes_in_a_cache_lead_nowhere(store: Store, cache: Path, tmp_path: Path) -> None:
    content, bound = publish(store, 4), Bound(most_bytes=250 * KB)
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True)
    (precious / "sub" / "file").write_bytes(b"precious")
    folder = fetch(store, "m", "v0", cache)
    Cache(cache).release()
    # The version's folder is a link out; so is a lock, and a folder of entries.
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    (cache / "other").symlink_to(precious)
    (precious / "sub#0").write_bytes(b"1")
    for number in (0, 1, 2, 3):
        assert whole(fetch(store, "m", f"v{number}", cache, bound=bound), content[f"v{number}"])
        Cache(cache).release()
    assert not folder.is_symlink()
    assert whole(tmp_path / "elsewhere", content["v0"])
    assert (precious / "sub" / "file").read_bytes() == b"precious"
    publish_version(store, "v0", {"config.json": b"{}"}, name="other")
    with pytest.raises(InvalidInput, match=r"other: it is a link to .*; expected a file within"):
        fetch(store, "other", "v0", cache)
    last = fetch(store, "m", "v3", cache)
    Cache(cache).release()
    for lock in (last.with_name(f"{last.name}#0"), cache / "cache#lock"):
        lock.unlink(missing_ok=True)
        lock.symlink_to(precious / "sub" / "file")
        with pytest.raises(InvalidInput, match=r"using the cache .*symbolic links"):
            fetch(store, "m", "v3", cache)
        lock.unlink()
    assert (precious / "sub" / "file").read_bytes() == b"precious"
    for pipe in ("manifest.json", "empty.json"):
        (last / pipe).unlink()
        os.mkfifo(last / pipe)
    assert whole(fetch(store, "m", "v2", cache), content["v2"])
    assert whole(fetch(store, "m", "v3", cache), content["v3"])


@pytest.mark.parametrize(
    "damage", ["paths that lead out", "a link for a file", "another size", "no manifest", "not JSON"]
)
def test_a_cached_manifest_that_lies_about_what_is_shared_gives_no_wrong_byte(
    store: Store, cache: Path, tmp_path: Path, damage: str
) -> None:
    content = publish(store, 2)
    first = fetch(store, "m", "v0", cache)
    shared, manifest = first / "all.safetensors", first / "manifest.json"
    (tmp_path / "out.safetensors").write_bytes(content["v0"]["all.safetensors"])
    match damage:
        case "paths that lead out":
            manifest.write_text(manifest.read_text().replace('"all.safetensors"', '"../../../out.safetensors"'))
        case "a link for a file":
            shared.unlink()
            shared.symlink_to(tmp_path / "out.safetensors")
        case "another size":
            shared.write_bytes(b"short")
        case "no manifest":
            manifest.unlink()
        case _:
            manifest.write_text("[")
    second = fetch(store, "m", "v1", cache)
    assert whole(second, content["v1"])
    assert (second / "all.safetensors").stat().st_ino != (tmp_path / "out.safetensors").stat().st_ino


def test_a_folder_that_somebody_took_away_by_hand_is_fetched_again_though_it_is_in_use(
    store: Store, cache: Path
) -> None:
    content = publish(store, 1)
    folder = fetch(store, "m", "v0", cache)
    folder.rename(cache / "aside")
    assert whole(fetch(store, "m", "v0", cache), content["v0"])
