"""What this process may use of the machine that it is on: CPUs and memory, by its container's limits, not the node's.

    cpus()              4, in a container that asked for four of a node's 192
    memory_bytes()      8589934592, where it may use 8 GiB

Reads `/proc` and `/sys`, and knows nothing of what is done with the numbers.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CPUS = "CALLWRIGHT_CPUS"
"""Environment variable with the CPUs that a pod's container has asked for: without a limit nothing else says it."""
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cpus() -> int:
    """Return the CPUs to keep busy, at least 1: those of the affinity, of the container's quota and of
    `CALLWRIGHT_CPUS`, whichever are fewest.
    """
    asked = os.environ.get(CPUS, "")
    known = [float(len(os.sched_getaffinity(0))), *_quotas()]
    return max(1, int(min([*known, *([float(asked)] if asked.isdigit() else [])])))


def memory_bytes() -> int:
    """Return the bytes of memory that this process may use, others' share of the machine included."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_read(folder / name) for folder, name in _files("memory", "memory.max", "memory.limit_in_bytes")]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])


def _quotas() -> Iterator[float]:
    """Yield the CPUs that each limit around this process leaves it."""
    for folder, name in _files("cpu", "cpu.max", "cpu.cfs_quota_us"):
        quota, _, period = _read(folder / name).partition(" ")
        period = period or _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _files(controller: str, unified: str, legacy: str) -> Iterator[tuple[Path, str]]:
    """Yield the folders of this process's groups, outermost last, with the name of the file that limits them: of cgroup
    v2, and of v1's hierarchy of the controller.

    In a container the outermost folder is its own, whichever path the host knows it by.
    """
    for line in _read(_MEMBERSHIP).splitlines():
        number, controllers, path = line.split(":", 2)
        top, name = (_CGROUPS, unified) if number == "0" else (_CGROUPS / controllers, legacy)
        if number == "0" or controller in controllers.split(","):
            group = Path(path.lstrip("/"))
            for inner in (group, *group.parents):
                yield top / inner, name


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
