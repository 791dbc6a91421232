"""The store under faults: requests that are reset, ETags that a proxy changes, promoters that race."""

import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from test_faults_roll_dialects import Rolling, served

from buckets import BUCKET, RESETS, Fault, FaultyProxy, s3_server
from callwright.datasets import sources
from callwright.errors import Conflict, InvalidInput, Unavailable
from callwright.server.cache_watch import CacheWatch
from callwright.store import Registry, Store, claimed, fetch, remote, resolve_base
from versions import publish_version

Figure = Callable[[str, object, object], None]
_PATIENCE_SECONDS = 60


def _opened(proxy: FaultyProxy, place: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return Store.open(f"s3://{BUCKET}/{place}", patience_seconds=_PATIENCE_SECONDS)


def _resetting(share: float, seed: int) -> tuple[Callable[[str, str], Fault | None], Counter[str]]:
    """Chooses a reset for `share` of the requests, and counts them."""
    drawn, counted, lock = random.Random(seed), Counter[str](), threading.Lock()

    def choose(method: str, path: str) -> Fault | None:
        with lock:
            fault = drawn.choice(RESETS) if drawn.random() < share else None
            counted[fault or "none"] += 1
            return fault

    return choose, counted


@pytest.mark.slow
def test_of_25_publishes_none_is_lost_to_resets(s3: str, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    choose, counted = _resetting(0.3, seed=16)
    with FaultyProxy(s3, choose) as proxy:
        registry = Registry(_opened(proxy, "resets", monkeypatch))
        for number in range(25):
            publish_version(
                registry.store,
                f"v{number}",
                {"config.json": b"{}" * number, "model": bytes(70_000 if number % 5 else 6_000_000)},
            )
            registry.promote("m", f"v{number}", expect=f"v{number - 1}" if number else None)
        proxy.choose = lambda method, path: None
        promotion = registry.promotion("m")
        assert promotion is not None
        assert [*promotion.history, promotion.version] == [f"v{number}" for number in range(25)]
        assert [problem for number in range(25) for problem in registry.verify("m", f"v{number}")] == []
    assert all(counted[fault] > 3 for fault in RESETS)
    resets = counted.total() - counted["none"]
    figure(f"publishes and promotions that succeed over {resets} resets of {counted.total()}", "25 of 25", "25 of 25")


def test_no_update_is_lost_where_promoters_race_under_resets(
    s3: str, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    choose, counted = _resetting(0.2, seed=7)
    with FaultyProxy(s3, choose) as proxy:
        store = _opened(proxy, "races", monkeypatch)
        store.put_bytes("pointer", b"")
        won: list[bytes] = []

        def promote(promoter: int) -> None:
            number = 0
            while number < 6:
                mine, stood = f"{promoter}/{number} ".encode(), store.read("pointer")
                try:
                    store.put_bytes("pointer", stood.data + mine, if_match=stood.etag)
                except Conflict:
                    continue
                won.append(mine)
                number += 1

        threads = [threading.Thread(target=promote, args=(promoter,)) for promoter in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.choose = lambda method, path: None
        there = store.get_bytes("pointer").split()
    assert len(won) == 18
    lost = [mine for mine in won if mine.strip() not in there]
    figure(f"updates lost by 3 racing promoters under {counted.total() - counted['none']} resets", len(lost), "0 of 18")
    assert not lost


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("weak", "W/{}".format),
        ("of a proxy that compresses", lambda etag: f'{etag[:-1]}-gzip"'),
        ("without quotes", lambda etag: etag.strip('"')),
        ("another one each time", lambda etag: f'"{random.randrange(10**9)}"'),
        ("missing", lambda etag: None),
    ],
)
def test_an_etag_that_a_proxy_changes_is_nobody_elses_promotion(
    s3: str, monkeypatch: pytest.MonkeyPatch, kind: str, change: Callable[[str], str | None]
) -> None:
    with FaultyProxy(s3, lambda method, path: None, change_etag=change) as proxy:
        registry = Registry(_opened(proxy, f"etags/{kind}", monkeypatch))
        for version in ("v1", "v2"):
            publish_version(registry.store, version)
            registry.promote("m", version)
        assert registry.promoted("m") == "v2"
        before = registry.store.read("models/m/promoted.json")
        registry.promote("m", "v1")
        with pytest.raises(Conflict, match="somebody else wrote it first"):  # which is still noticed
            registry.store.put_bytes("models/m/promoted.json", b"{}", if_match=before.etag)


def test_a_condition_that_is_refused_for_no_reason_is_told_apart_from_a_conflict(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that gives every write the answer 412."""
    with FaultyProxy(s3, lambda method, path: None) as proxy:
        store = _opened(proxy, "refused", monkeypatch)
        etag = store.put_bytes("pointer", b"one")
        proxy.choose = lambda method, path: "412" if method == "PUT" else None
        with pytest.raises(Unavailable, match="refused 6 times on the condition that it is as it was read"):
            store.put_bytes("pointer", b"two", if_match=etag)
        assert store.get_bytes("pointer") == b"one"


def test_an_answer_that_will_be_the_same_next_time_is_not_waited_for(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyProxy(s3, lambda method, path: "400" if method == "PUT" else None) as proxy:
        store = _opened(proxy, "bad", monkeypatch)
        with pytest.raises(InvalidInput, match=r"refused: .*400"):
            store.put_bytes("pointer", b"one", if_absent=True)


def test_a_corpus_whose_download_broke_off_is_not_taken_for_whole(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = b'{"messages": []}\n' * 200_000
    with FaultyProxy(s3, lambda method, path: None) as proxy:
        _opened(proxy, "corpora", monkeypatch)
        with Store.open(f"s3://{BUCKET}/corpora").writer("a.jsonl") as writer:
            writer.write(rows)
        url = f"s3://{BUCKET}/corpora/a.jsonl"
        proxy.choose = lambda method, path: "truncated" if method == "GET" and "list-type" not in path else None
        with pytest.raises(Unavailable):
            sources.resolve(url, tmp_path, open_store=lambda url: Store.open(url, patience_seconds=1))
        proxy.choose = lambda method, path: None
        assert sources.resolve(url, tmp_path).read_bytes() == rows


@pytest.mark.parametrize("name", ["chat_template.jinja", "sub/generation_config.json", "link.json", "manifest.json"])
def test_what_was_put_beside_a_version_in_the_cache_is_fetched_away(tmp_path: Path, name: str) -> None:
    """A loader takes a file by its name; the manifest in the cache says the dialect."""
    store = Store.open((tmp_path / "store").as_uri())
    publish_version(store, "v1", {"config.json": b"{}"})
    folder = fetch(store, "m", "v1", tmp_path / "cache")
    whole = (folder / "manifest.json").read_bytes()
    (folder / "sub").mkdir()
    if name == "link.json":
        (folder / name).symlink_to("/etc")
    else:
        (folder / name).write_bytes(whole.replace(b'"ms_agent"', b'"hermes"'))
    assert fetch(store, "m", "v1", tmp_path / "cache") == folder
    assert {path.name for path in folder.iterdir()} == {"config.json", "manifest.json"}
    assert (folder / "manifest.json").read_bytes() == whole


def test_a_weight_that_changed_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    """Whether or not its size and time tell; a link in its place is a change too."""
    store = Store.open((tmp_path / "store").as_uri())
    publish_version(store, "v1", {"config.json": b"{}", "model.safetensors": b"weights" * 1000})
    cache = tmp_path / "cache"
    folder = fetch(store, "m", "v1", cache)
    weights = folder / "model.safetensors"
    for damage in ("same size", "shorter", "gone", "link"):
        match damage:
            case "same size":
                before = weights.stat()
                weights.write_bytes(b"weightz" * 1000)
                os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
            case "shorter":
                weights.write_bytes(b"weights")
            case "gone":
                weights.unlink()
            case _:
                weights.rename(tmp_path / "elsewhere")
                weights.symlink_to(tmp_path / "elsewhere")
        assert fetch(store, "m", "v1", cache) == folder
        assert weights.read_bytes() == b"weights" * 1000, damage
        assert not weights.is_symlink()
    assert {path.name for path in (cache / "m").iterdir()} == {folder.name, f"{folder.name}#0"}


@pytest.mark.parametrize("damage", ["changed", "changed without a trace", "gone", "added"])
def test_a_replica_notices_that_what_it_serves_changed(tmp_path: Path, damage: str, monkeypatch: Any) -> None:
    store = Store.open((tmp_path / "store").as_uri())
    manifest = publish_version(store, "v1", {"config.json": b"{}", "model.safetensors": b"weights"})
    folder = fetch(store, "m", "v1", tmp_path / "cache")
    untraced = damage == "changed without a trace"
    watch = CacheWatch(folder, manifest.files, look_seconds=0.02, verify_seconds=0.1 if untraced else 3600)
    if untraced:
        monkeypatch.setattr(watch, "_look", lambda: watch._seen)
    try:
        os.utime(folder / "config.json")  # touched, and the same
        if damage == "gone":
            (folder / "model.safetensors").unlink()
        elif damage == "added":
            (folder / "chat_template.jinja").touch()
        else:
            (folder / "model.safetensors").write_bytes(b"weightz")
        deadline = time.monotonic() + 30
        while watch.problem is None and time.monotonic() < deadline:
            time.sleep(0.01)
        name = "chat_template.jinja" if damage == "added" else "model.safetensors"
        assert f"{name} is not what was published" in str(watch.problem)
    finally:
        watch.stop()


@pytest.mark.parametrize(
    ("told", "file", "folder"), [(None, 0o600, 0o700), ("660", 0o660, 0o770), ("644", 0o644, 0o755)]
)
def test_files_of_a_store_are_their_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, file: int, folder: int
) -> None:
    """Unless `CALLWRIGHT_FILE_MODE` says otherwise, whatever the umask."""
    if told:
        monkeypatch.setenv("CALLWRIGHT_FILE_MODE", told)
    before = os.umask(0o027 if told else 0)
    try:
        store = Store.open((tmp_path / "store").as_uri())
        publish_version(store, "v1", {"config.json": b"{}"})
        Registry(store).promote("m", "v1")
        with claimed(store, "models/m/claim.json"):
            modes = {path.is_dir(): set[int]() for path in (tmp_path, tmp_path / "no")}
            for path in (tmp_path / "store").rglob("*"):
                modes[path.is_dir()].add(path.stat().st_mode & 0o777)
        assert modes == {False: {file}, True: {folder}}
        fetch(store, "m", "v1", tmp_path / "cache")
        assert (tmp_path / "cache").stat().st_mode & 0o777 == folder
    finally:
        os.umask(before)


@pytest.mark.parametrize("told", ["", "777", "0o600", "rw", "1600", "066"])
def test_a_mode_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("CALLWRIGHT_FILE_MODE", told)
    with pytest.raises(InvalidInput, match="CALLWRIGHT_FILE_MODE: got"):
        Store.open((tmp_path / "store").as_uri()).put_bytes("a", b"")


def test_links_and_pipes_in_a_store_are_refused_by_name(tmp_path: Path) -> None:
    """An object, a folder, and one that would be written through a link."""
    root = tmp_path / "store"
    store = Store.open(root.as_uri())
    store.put_bytes("a/b", b"1")
    (root / "a" / "passwd").symlink_to("/etc/passwd")
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "other").write_bytes(b"")
    os.mkfifo(root / "pipe")
    (root / "a" / "same").symlink_to("b")
    assert store.get_bytes("a/same") == b"1"
    asks: dict[str, Callable[[], object]] = {
        "passwd": lambda: store.get_bytes("a/passwd"),
        "out/x": lambda: store.put_bytes("out/x", b""),
        "pipe": lambda: store.get_bytes("pipe"),
        "a/passwd": lambda: store.list("a"),
        "out": lambda: store.delete("out/other"),
    }
    for name, ask in asks.items():
        with pytest.raises(InvalidInput, match=f"{name}.*: it is (a link to|neither a file)"):
            ask()
    assert (tmp_path / "other").exists()
    (tmp_path / "linked").symlink_to(root)
    assert Store.open((tmp_path / "linked").as_uri()).get_bytes("a/b") == b"1"  # the store itself may be a link


def test_a_write_whose_answer_never_comes_is_read_back(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REQUEST_SECONDS", 1.0)
    left: list[Fault] = ["hang"]
    with FaultyProxy(s3, lambda method, path: left.pop() if method == "PUT" and left else None) as proxy:
        store = _opened(proxy, "hangs", monkeypatch)
        first = store.put_bytes("pointer", b"one", if_absent=True)
        left.append("hang")
        store.put_bytes("pointer", b"two", if_match=first)
        assert store.get_bytes("pointer") == b"two"
    assert not left


@pytest.mark.parametrize("key", ["base/a/../b.json", "base/./x"])
def test_an_object_whose_name_is_no_path_is_named_with_what_to_do(key: str, tmp_path: Path) -> None:
    import boto3

    with s3_server() as url:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        for each in ("base/config.json", key):
            client.put_object(Bucket=BUCKET, Key=each, Body=b"{}")
        with pytest.raises(InvalidInput, match=f"object named '{re.escape(key)}'.*; rename or delete it there"):
            resolve_base(f"s3://{BUCKET}/base", cache_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_replicas_that_die_while_the_store_is_away_come_back_from_their_node(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """On real Ray Serve; the others answer meanwhile."""
    away = threading.Event()

    def replicas() -> set[psutil.Process]:
        found = psutil.Process().children(recursive=True)
        return {each for each in found if each.is_running() and each.name().startswith("ray::ServeReplica")}

    with FaultyProxy(s3, lambda method, path: "reset before" if away.is_set() else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with (
            served(tmp_path, Rolling, store_url=f"s3://{BUCKET}/{tmp_path.name}") as rolling,
            httpx.Client(timeout=60) as client,
        ):
            away.set()
            first = replicas()
            for dying in first:
                dying.kill()
                dying.wait(30)
                since = time.monotonic()
                while len(running := replicas()) < 2 or rolling.running() < 2:
                    assert time.monotonic() < since + 120, "no replica has come back"
                    assert rolling.ask(client, stream=True) == "v1"
            assert not first & running
            seconds = int(time.monotonic() - since)
            figure("replicas that die while the store is away: seconds until the last is back", seconds, "at most 120")
            assert rolling.ask(client, stream=False) == "v1"
