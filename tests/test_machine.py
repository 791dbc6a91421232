"""A process counts what its container may use, not what the node has: under the kernel's own limits, and as files."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from callwright import machine

CGROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def group(controller: str, **limits: str) -> Iterator[Path]:
    """A group of processes below this one's, with limits; skips the test where nobody may make one."""
    legacy = (CGROUPS / controller / "cgroup.procs").exists()
    made = (CGROUPS / controller if legacy else CGROUPS) / f"callwright-{uuid.uuid4().hex}"
    try:
        made.mkdir()
        for name, value in limits.items():
            (made / name.replace("__", ".")).write_text(value)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.rmdir()
        pytest.skip(f"needs a right to make groups of processes: {error}")
    yield made
    made.rmdir()


def counted(group: Path, what: str) -> int:
    """What a process in the group says."""
    told = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); from callwright import machine; print({what})"
    return int(subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout)


LEGACY = (CGROUPS / "cpu" / "cgroup.procs").exists()


@pytest.mark.parametrize(("quota", "expected"), [(100_000, 1), (50_000, 1)])
def test_the_kernel_s_quota_of_cpus_counts(quota: int, expected: int) -> None:
    limits = {"cpu__cfs_quota_us": str(quota)} if LEGACY else {"cpu__max": f"{quota} 100000"}
    with group("cpu", **limits) as made:
        assert counted(made, "machine.cpus()") == expected


def test_the_kernel_s_limit_of_memory_counts() -> None:
    limit = {"memory__limit_in_bytes" if LEGACY else "memory__max": str(512 << 20)}
    with group("memory", **limit) as made:
        assert counted(made, "machine.memory_bytes()") == 512 << 20


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu.max": "max 100000"}, 192),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/kubepods/pod1/c1", {"cpu.max": "400000 100000"}, 4),  # the host's path, the container's own folder
        ("0::/pod/c", {"pod/cpu.max": "200000 100000", "pod/c/cpu.max": "800000 100000"}, 2),
        ("4:cpu,cpuacct:/docker/1", {"cpu,cpuacct/cpu.cfs_quota_us": "300000"}, 3),
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1"}, 192),
        ("", {}, 192),
    ],
)
def test_the_fewest_cpus_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str], expected: int
) -> None:
    """On a node of 192."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).with_name("cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "membership").write_text(f"{membership}\n" if membership else "")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(192)))
    monkeypatch.delenv(machine.CPUS, raising=False)
    assert machine.cpus() == expected
    monkeypatch.setenv(machine.CPUS, "2")  # what the container has asked for
    assert machine.cpus() == min(2, expected)
    monkeypatch.setenv(machine.CPUS, "0")
    assert machine.cpus() == 1
