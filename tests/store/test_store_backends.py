"""One contract over every backend: what is written is there whole, or not at all, and conditions hold."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from callwright.errors import Conflict, InvalidInput, NotFound, Unavailable
from callwright.store import Store


def test_what_is_written_is_read(store: Store) -> None:
    etag = store.put_bytes("a/b.json", b"one")
    assert store.read("a/b.json") == type(store.read("a/b.json"))(data=b"one", etag=etag)
    assert store.put_bytes("a/b.json", b"two") != etag
    assert store.get_bytes("a/b.json") == b"two"
    assert store.exists("a/b.json")
    assert not store.exists("a")
    assert store.entry("a/b.json").size == 3


def test_what_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    for ask in (store.get_bytes, store.entry, lambda key: store.get_file(key, tmp_path / "x")):
        with pytest.raises(NotFound, match=r"no/thing"):
            ask("no/thing")
    with pytest.raises(NotFound):
        store.get_tree("nothing", tmp_path / "tree")
    assert store.list("nothing") == []
    assert store.delete("nothing") == 0


def test_a_list_is_of_folders_not_of_beginnings(store: Store) -> None:
    for key in ("runs/a/1", "runs/a/b/2", "runs/ab/3", "other"):
        store.put_bytes(key, key.encode())
    assert [entry.key for entry in store.list("runs/a")] == ["runs/a/1", "runs/a/b/2"]
    assert [entry.key for entry in store.list("runs/a/")] == ["runs/a/1", "runs/a/b/2"]
    assert [entry.key for entry in store.list()] == ["other", "runs/a/1", "runs/a/b/2", "runs/ab/3"]
    assert store.delete("runs/a") == 2
    assert [entry.key for entry in store.list()] == ["other", "runs/ab/3"]


def test_trees_come_back_as_they_went(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, data in {"x.bin": os.urandom(70_000), "deep/er/y.txt": b"", "ü.json": b"{}"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    assert store.put_tree("runs/r", source) == 3
    assert store.get_tree("runs/r", tmp_path / "target") == 3
    for path in source.rglob("*.*"):
        assert (tmp_path / "target" / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_a_stream_is_invisible_until_it_is_committed(store: Store) -> None:
    parts = [os.urandom(7_000_000) for _ in range(3)]
    buffer = bytearray(7_000_000)
    with store.writer("big") as writer:
        for part in parts:
            buffer[:] = part
            writer.write(memoryview(buffer))  # the caller uses its buffer again
            assert not store.exists("big")
    assert b"".join(store.blocks("big", size=21_000_000)) == b"".join(parts)
    assert bytes(next(iter(store.blocks("big", size=10, start=7_000_000)))) == parts[1][:10]


@pytest.mark.parametrize("written", [0, 100, 20_000_000])
def test_a_stream_that_fails_leaves_nothing(store: Store, written: int) -> None:
    store.put_bytes("kept", b"before")

    def fail() -> None:
        with store.writer("kept") as writer:
            writer.write(bytes(written))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert store.get_bytes("kept") == b"before"
    assert [entry.key for entry in store.list()] == ["kept"]


def test_an_empty_stream_is_an_empty_object(store: Store) -> None:
    with store.writer("empty"):
        pass
    assert store.entry("empty").size == 0


def test_conditions(store: Store) -> None:
    first = store.put_bytes("pointer", b"1", if_absent=True)
    with pytest.raises(Conflict):
        store.put_bytes("pointer", b"2", if_absent=True)
    second = store.put_bytes("pointer", b"2", if_match=first)
    with pytest.raises(Conflict):
        store.put_bytes("pointer", b"3", if_match=first)
    assert store.get_bytes("pointer") == b"2"
    store.delete("pointer")
    with pytest.raises((Conflict, NotFound)):
        store.put_bytes("pointer", b"3", if_match=second)
    assert not store.exists("pointer")


def test_of_many_swaps_at_once_one_wins(opened: Callable[[], Store]) -> None:
    etag = opened().put_bytes("pointer", b"start")
    won: list[int] = []
    start = threading.Barrier(6)

    def swap(number: int) -> None:
        store = opened()
        start.wait()
        try:
            store.put_bytes("pointer", str(number).encode(), if_match=etag)
        except Conflict:
            return
        won.append(number)

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert opened().get_bytes("pointer") == str(won[0]).encode()


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/./b", "a/../../b", "a\0b"])
def test_keys_that_lead_elsewhere_are_refused(store: Store, key: str) -> None:
    with pytest.raises(InvalidInput, match="key"):
        store.put_bytes(key, b"x")


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host/x", "file://host/x", "file:relative", "s3://", "s3:///x"])
def test_urls_that_are_no_stores_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="opening the store"):
        Store.open(url)


@pytest.mark.parametrize(
    ("url", "words"), [("az://box/x", "Account must be specified"), ("gs://box/x", "missing field")]
)
def test_settings_that_are_missing_or_wrong_are_the_users_fault(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", '{"type": "service_account"}')
    with pytest.raises(InvalidInput, match=f"opening {url}: .*{words}.*check the environment"):
        Store.open(url)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path / "file" / "store", Path("/proc/store")):
        with pytest.raises(InvalidInput, match=f"writing {root}"):
            Store.open(root.as_uri()).put_bytes("a/b", b"x")
        with pytest.raises(InvalidInput, match=f"writing {root}"):
            Store.open(root.as_uri()).put_bytes("a/b", b"x", if_absent=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidInput, match="Permission denied; choose another store"):
        Store.open(tmp_path.as_uri()).put_bytes("a/b", b"x")


def test_a_bucket_that_is_not_there_says_so(s3: str) -> None:
    with pytest.raises(NotFound, match="no such bucket"):
        Store.open("s3://nowhere/x").put_bytes("a", b"x")


def test_a_server_that_is_not_there_says_so(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="reading s3://"):
        Store.open("s3://bucket/x", patience_seconds=0.5).get_bytes("a")


def test_files_being_written_are_no_objects(tmp_path: Path) -> None:
    store = Store.open(tmp_path.as_uri())
    with store.writer("m/model.safetensors") as writer:
        writer.write(b"half")
        assert store.list() == []
        assert len(list((tmp_path / "m").iterdir())) == 1
    assert [entry.key for entry in store.list()] == ["m/model.safetensors"]
    assert len(list((tmp_path / "m").iterdir())) == 1
