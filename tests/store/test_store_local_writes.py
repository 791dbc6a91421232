"""A folder's files are whole and durable, however little the disk takes at a time and whatever it refuses."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from callwright.errors import InvalidInput, Unavailable
from callwright.store import Store, local

BLOCK = 8192


def write(root: Path, sizes: list[int]) -> bytes:
    """Write pieces of these sizes as one object; returns what was written."""
    data = random.Random(0).randbytes(sum(sizes))
    at = 0
    with Store.open(root.as_uri()).writer("a/b") as writer:
        for size in sizes:
            writer.write(memoryview(data)[at : at + size])
            at += size
    return data


def limit_disk(monkeypatch: pytest.MonkeyPatch, *, most: int = 2**30, room: int = 2**30) -> None:
    """Let `os.write` take at most `most` bytes at a time, and `room` bytes in all."""
    real, left = os.write, [room]

    def limited(handle: int, data: Any) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(handle, data[: min(most, left[0])])
        left[0] -= count
        return count

    monkeypatch.setattr(local.os, "write", limited)


@pytest.mark.parametrize("most", [1000, 4096, 2**30])
@pytest.mark.parametrize("sizes", [[], [0], [100, 100], [BLOCK, 0, 1], [3 * BLOCK + 5, BLOCK]])
def test_a_disk_that_takes_a_part_of_what_it_is_given_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], most: int
) -> None:
    limit_disk(monkeypatch, most=most)
    data = write(tmp_path, sizes)
    assert (tmp_path / "a/b").read_bytes() == data


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_disk(monkeypatch, room=BLOCK + 4096)
    with pytest.raises(Unavailable, match="No space left"):
        write(tmp_path, [4 * BLOCK])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_name_that_is_taken_by_a_folder_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """It is found out only when the file gets its name."""
    (tmp_path / "a/b").mkdir(parents=True)
    with pytest.raises(InvalidInput):
        write(tmp_path, [BLOCK])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_is_durable_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are synced, then it gets its name, then the name is synced."""
    (tmp_path / "a").mkdir()
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def note(*arguments: Any, name: str = name, real: Any = real) -> None:
            at = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else arguments[1]
            done.append(f"{name} {Path(at).name.partition('#')[0]}")
            real(*arguments)

        monkeypatch.setattr(local.os, name, note)
    write(tmp_path, [BLOCK])
    assert done == ["fsync b", "replace b", "fsync a"]
