"""What this process may use of the machine: cores and memory, within the limits of its container or batch job."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")


def cores() -> int:
    """Cores that this process may use, at least 1: by affinity and by the quota of its control group."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([usable, *_quotas()])))


def free_memory() -> int | None:
    """Bytes that this process and its children may still take; None where the system does not say (not Linux)."""
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
    except OSError:
        return None
    available = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return min([*available, *_memory_left()], default=None)


def _quotas() -> Iterator[float]:
    """Cores by the quotas of the control groups of this process; version 2, then 1."""
    for folder in _groups(""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and int(period or 0):
            yield int(quota) / int(period)
    for folder in _groups("cpu"):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _memory_left() -> Iterator[int]:
    """Bytes below the limits of the control groups of this process; the file cache counts as free."""
    names = ("memory.max", "memory.current", "inactive_file")
    version_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    for controller, (limit, usage, cached) in (("", names), ("memory", version_1)):
        for folder in _groups(controller):
            most, used = _read(folder / limit), _read(folder / usage)
            if most.isdigit() and used.isdigit():
                stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                yield max(int(most) - int(used) + int(stat.get(cached, 0)), 0)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control group of this process and of all around it. controller: "" for version 2.

    In a container the path may lead out of what is mounted; then the mounted root is its own group.
    """
    mounted = CGROUPS / controller
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if (controller in names.split(",")) if controller else not names:
            group = mounted / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(mounted))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
