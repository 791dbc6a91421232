"""Fetching a version to a node: verified, all at once, once for everybody, and never with a corrupt file."""

import errno
import io
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from buckets import BUCKET
from callwright.errors import InvalidInput, NotFound, StageFailed, Unavailable
from callwright.store import FileEntry, Manifest, Registry, Store, fetch
from callwright.store.backend import Buffer
from callwright.store.fetch import _Download
from callwright.store.manifest import manifest_key
from versions import publish_version

SIZES = {"model-1.safetensors": 20_000_000, "model-2.safetensors": 3, "empty.txt": 0, "sub/config.json": 1000}


def publish(store: Store, sizes: dict[str, int] = SIZES) -> dict[str, bytes]:
    content = {path: os.urandom(size) for path, size in sizes.items()}
    publish_version(store, "v1", content)
    return content


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith("#0"))


def test_a_version_comes_whole(store: Store, tmp_path: Path) -> None:
    content = publish(store)
    seen: list[int] = []
    target = fetch(store, "m", "v1", tmp_path / "cache", on_bytes=lambda done, total, what: seen.append(done))
    assert {path: (target / path).read_bytes() for path in content} == content
    assert Manifest.model_validate_json((target / "manifest.json").read_bytes()).version == "v1"
    assert max(seen) == sum(SIZES.values())
    store.delete("models/m/versions/v1/model-1.safetensors")
    assert fetch(store, "m", "v1", tmp_path / "cache") == target
    assert names(target.parent) == [target.name]


def test_an_evaluation_recorded_later_is_no_reason_to_fetch_again(store: Store, tmp_path: Path) -> None:
    publish(store, {"config.json": 10})
    first = fetch(store, "m", "v1", tmp_path)
    key = manifest_key("m", "v1")
    manifest = Registry(store).manifest("m", "v1").model_copy(update={"metrics": {"evaluation": {"accuracy": 0.9}}})
    store.put_bytes(key, manifest.model_dump_json().encode())
    assert fetch(store, "m", "v1", tmp_path) == first


def test_a_version_made_again_is_fetched_again(store: Store, tmp_path: Path) -> None:
    publish(store, {"config.json": 10})
    first = fetch(store, "m", "v1", tmp_path)
    store.delete("models/m/versions/v1")
    content = publish(store, {"config.json": 10})
    second = fetch(store, "m", "v1", tmp_path)
    assert second != first
    assert (second / "config.json").read_bytes() == content["config.json"]


def test_while_the_store_does_not_answer_the_cache_has_what_it_has(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, or not at all; of a version that was made again, the newest."""
    store = Store.open(f"s3://{BUCKET}/{tmp_path.name}")
    for _ in range(2):
        store.delete("models/m/versions/v1")
        content = publish(store, {"config.json": 10, "model.safetensors": 10})
        folder = fetch(store, "m", "v1", tmp_path / "cache")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = Store.open(store.url, patience_seconds=0.1)
    assert fetch(away, "m", "v1", tmp_path / "cache") == folder
    assert {path: (folder / path).read_bytes() for path in content} == content
    for version in ("v2", "promoted"):
        with pytest.raises(Unavailable):
            fetch(away, "m", version, tmp_path / "cache")
    (folder / "config.json").write_bytes(b"0" * 10)
    with pytest.raises(Unavailable):
        fetch(away, "m", "v1", tmp_path / "cache")


def test_a_disk_that_fills_up_is_named_and_not_taken_for_corruption(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a part of a block before it refuses the rest."""
    publish(store)
    real = Path.open

    class Filling(io.FileIO):
        room = 10_000

        def write(self, data: Any) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = super().write(memoryview(data)[: self.room])
            self.room -= count
            return count

    def opened(path: Path, mode: str = "r", buffering: int = -1, **given: Any) -> Any:
        if mode != "r+b":
            return real(path, mode, buffering, **given)
        return Filling(path, "r+") if buffering == 0 else io.BufferedRandom(Filling(path, "r+"))

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(InvalidInput, match="No space left"):
        fetch(store, "m", "v1", tmp_path / "cache")
    assert names(tmp_path / "cache/m") == []


class Corrupting:
    """Breaks the first `times` reads of a file."""

    def __init__(self, store: Store, path: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        read, self.left = store.backend.read_range, times

        def corrupt(key: str, start: int, length: int) -> Buffer:
            data = bytearray(read(key, start, length))
            if key.endswith(path) and start == 0 and self.left:
                self.left -= 1
                data[0] ^= 1
            return data

        monkeypatch.setattr(store.backend, "read_range", corrupt)


def test_a_corrupt_file_is_fetched_once_more(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = publish(store)
    Corrupting(store, "model-1.safetensors", 1, monkeypatch)
    target = fetch(store, "m", "v1", tmp_path)
    assert (target / "model-1.safetensors").read_bytes() == content["model-1.safetensors"]


def test_a_file_that_stays_corrupt_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)
    Corrupting(store, "model-1.safetensors", 2, monkeypatch)
    with pytest.raises(StageFailed, match=r"corrupt twice: model-1\.safetensors; run `callwright models verify m v1`"):
        fetch(store, "m", "v1", tmp_path)
    assert names(tmp_path / "m") == []
    fetch(store, "m", "v1", tmp_path)


def test_a_missing_file_is_not_found(store: Store, tmp_path: Path) -> None:
    publish(store)
    store.delete("models/m/versions/v1/sub")
    with pytest.raises(NotFound, match=r"sub/config\.json"):
        fetch(store, "m", "v1", tmp_path)
    assert names(tmp_path / "m") == []


def test_a_manifest_that_leads_out_is_refused(tmp_path: Path) -> None:
    store = Store.open("memory://")
    publish(store, {"config.json": 1})
    manifest = Registry(store).manifest("m", "v1")
    bad = manifest.model_copy(update={"version": "v2", "files": {"../../out": FileEntry(sha256="0" * 64, size=0)}})
    with pytest.raises(InvalidInput, match=r"got the file '../../out'"):
        Registry(store).publish(bad)
    store.put_bytes("models/m/versions/v2/manifest.json", bad.model_dump_json().encode())
    with pytest.raises(InvalidInput, match=r"got the file '../../out'"):
        fetch(store, "m", "v2", tmp_path)


def test_a_cache_that_cannot_be_written_says_so(store: Store, tmp_path: Path) -> None:
    publish(store, {"config.json": 1})
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="using the cache"):
        fetch(store, "m", "v1", tmp_path / "file")


def fetch_slowly(url: str, cache: Path, pipe: Connection) -> None:
    """Fetches, but stops before the last file and waits to be told to go on."""
    store = Store.open(url)
    read = store.backend.read_range

    def wait(key: str, start: int, length: int) -> Buffer:
        if key.endswith("model-2.safetensors"):
            pipe.send("waiting")
            pipe.recv()
        return read(key, start, length)

    store.backend.read_range = wait  # type: ignore[method-assign]
    fetch(store, "m", "v1", cache)


@pytest.mark.parametrize("killed", [False, True])
def test_the_second_process_waits_for_the_first(tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    url, cache = (tmp_path / "store").as_uri(), tmp_path / "cache"
    content = publish(Store.open(url))
    here, there = multiprocessing.Pipe()
    first = multiprocessing.get_context("forkserver").Process(target=fetch_slowly, args=(url, cache, there))
    first.start()
    assert here.recv() == "waiting"
    assert [name for name in names(cache / "m") if "#part-" not in name] == []
    downloads: list[object] = []
    run = _Download.run
    monkeypatch.setattr(_Download, "run", lambda self, *given: (downloads.append(self), run(self, *given))[1])
    found: list[Path] = []
    second = threading.Thread(target=lambda: found.append(fetch(Store.open(url), "m", "v1", cache)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    if killed:
        first.kill()
    else:
        here.send("go on")
    second.join(60)
    first.join(60)
    assert len(downloads) == killed
    assert {path: (found[0] / path).read_bytes() for path in content} == content
    assert names(cache / "m") == [found[0].name]
