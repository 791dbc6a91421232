"""Merging into S3 through a network that breaks: the version becomes whole, or nothing of it is visible."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plain_merge import run_merge

from buckets import BUCKET, Fault, FaultyProxy
from callwright.errors import CallwrightError
from callwright.store import Registry, Store

SHARD_BYTES = 20_000
CHOOSE = Callable[[str, str], Fault | None]


@pytest.fixture
def behind(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[CHOOSE], Store]]:
    """Opens a store behind a proxy that breaks the chosen requests."""
    with FaultyProxy(s3, lambda method, path: None) as proxy:

        def open_with(choose: CHOOSE) -> Store:
            proxy.choose = choose
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            return Store.open(f"s3://{BUCKET}/{tmp_path.name}", patience_seconds=4)

        yield open_with


def every(nth: int, fault: Fault) -> CHOOSE:
    """Break every nth request."""
    count = itertools.count(1)
    return lambda method, path: fault if next(count) % nth == 0 else None


@pytest.mark.parametrize("fault", ["500", "slow down", "upload reset"])
def test_requests_that_fail_now_and_then_are_sent_again(
    fault: Fault, pair: tuple[Path, Path], behind: Callable[[CHOOSE], Store]
) -> None:
    store = behind(every(4, fault))
    manifest = run_merge(store, *pair, shard_bytes=SHARD_BYTES)
    assert manifest.verification is not None
    calm = behind(lambda method, path: None)
    assert Registry(calm).verify("m", "v1") == []


@pytest.mark.parametrize("fault", ["reset", "truncated"])
def test_answers_that_break_off_leave_a_whole_version_or_none(
    fault: Fault, pair: tuple[Path, Path], behind: Callable[[CHOOSE], Store]
) -> None:
    published = None
    with contextlib.suppress(CallwrightError):  # a lost answer may have been the one that counts
        published = run_merge(behind(every(7, fault)), *pair, shard_bytes=SHARD_BYTES)
    calm = behind(lambda method, path: None)
    if published is None:
        assert all(Registry(calm).verify("m", manifest.version) == [] for manifest in Registry(calm).versions("m"))
    run_merge(calm, *pair, shard_bytes=SHARD_BYTES)
    assert Registry(calm).verify("m", "v1") == []


@pytest.mark.parametrize(
    "fault",
    ["500", "upload reset", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("slow down", "reset before"))],
)
def test_a_store_that_stays_broken_is_an_error_and_nothing_is_visible(
    fault: Fault, pair: tuple[Path, Path], behind: Callable[[CHOOSE], Store]
) -> None:
    store = behind(lambda method, path: fault if method in ("PUT", "POST") and "safetensors" in path else None)
    with pytest.raises(CallwrightError) as raised:
        run_merge(store, *pair, shard_bytes=SHARD_BYTES)
    assert "safetensors" in str(raised.value)
    calm = behind(lambda method, path: None)
    assert Registry(calm).versions("m") == []
    run_merge(calm, *pair, shard_bytes=SHARD_BYTES)  # and the next run makes it
    assert Registry(calm).verify("m", "v1") == []
