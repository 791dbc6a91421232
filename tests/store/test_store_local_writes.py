"""A folder's files are whole however they are written: past the page cache, through it, or one and then the other."""

import errno
import fcntl
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callwright.errors import Unavailable
from callwright.store import Store, local

BLOCK = 8192
DIRECT = getattr(os, "O_DIRECT", 0)
around = st.sampled_from([0, 1, BLOCK // 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK]) | st.integers(0, 2 * BLOCK)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that little data makes many."""
    monkeypatch.setattr(local, "_BLOCK_BYTES", BLOCK)


def write(root: Path, sizes: list[int]) -> bytes:
    """Write pieces of these sizes as one object; returns what was written."""
    data = random.Random(0).randbytes(sum(sizes))
    at = 0
    with Store.open(root.as_uri()).writer("a/b") as writer:
        for size in sizes:
            writer.write(memoryview(data)[at : at + size])
            at += size
    return data


@given(st.lists(around, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_of_any_size_are_read_as_they_were_written(tmp_path: Path, sizes: list[int]) -> None:
    data = write(tmp_path, sizes)
    assert (tmp_path / "a/b").read_bytes() == data


class Disk:
    """`os.write` as some disks do it; notes which writes went past the page cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, refuses: bool = False, most: int = 2**30, room: int = 2**30):
        self.direct: list[bool] = []
        self._refuses, self._most, self._room = refuses, most, room
        self._real = os.write
        monkeypatch.setattr(local.os, "write", self)

    def __call__(self, handle: int, data: Any) -> int:
        direct = bool(fcntl.fcntl(handle, fcntl.F_GETFL) & DIRECT)
        self.direct.append(direct)
        if direct and (self._refuses or len(data) % 512):
            raise OSError(errno.EINVAL, "Invalid argument")
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._real(handle, data[: min(self._most, self._room)])
        self._room -= count
        return count


def test_whole_blocks_go_past_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the end, which is no block, through it."""
    disk = Disk(monkeypatch)
    data = write(tmp_path, [3 * BLOCK + 5])
    if not any(disk.direct):
        pytest.skip("this file system has no direct writes")
    assert disk.direct == [True, True, True, False]
    assert (tmp_path / "a/b").read_bytes() == data


def test_little_is_written_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    write(tmp_path, [100, 100])
    assert disk.direct == [False]


@pytest.mark.parametrize("how", [{"refuses": True}, {"most": 1000}, {"most": 4096}])
def test_a_disk_that_wants_it_otherwise_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    """One that refuses such writes, and one that takes a part of what it is given."""
    Disk(monkeypatch, **how)
    data = write(tmp_path, [3 * BLOCK + 5, BLOCK])
    assert (tmp_path / "a/b").read_bytes() == data


def test_a_file_system_without_direct_writes_is_written_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which says so when it is asked."""
    real = fcntl.fcntl

    def refusing(handle: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(handle, command, argument)

    monkeypatch.setattr(local.fcntl, "fcntl", refusing)
    disk = Disk(monkeypatch)
    data = write(tmp_path, [2 * BLOCK])
    assert disk.direct == [False, False]
    assert (tmp_path / "a/b").read_bytes() == data


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Disk(monkeypatch, room=BLOCK + 4096)
    with pytest.raises(Unavailable, match="No space left"):
        write(tmp_path, [4 * BLOCK])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
