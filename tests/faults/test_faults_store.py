"""The store under faults: requests that are reset, ETags that a proxy changes, promoters that race."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from buckets import BUCKET, RESETS, Fault, FaultyProxy
from callwright.datasets import sources
from callwright.errors import Conflict, InvalidInput, Unavailable
from callwright.store import Registry, Store
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
