"""Cores and memory within the limits of a container, from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.system import capacity


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """kernel(file=text, ...) writes the files that the kernel would show; four cores and 8 GB free."""
    monkeypatch.setattr(capacity, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(capacity, "PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)

    def write(files: dict[str, str]) -> None:
        for name, text in {"proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n", **files}.items():
            path: Path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_limits_the_machine_counts(kernel):
    kernel({"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "max 100000\n", "cgroup/memory.max": "max\n"})
    assert capacity.cores() == 4
    assert capacity.free_memory() == 8_000_000 * 1024


def test_limits_of_version_2_hold_wherever_in_the_tree(kernel):
    kernel({
        "proc/self/cgroup": "0::/slice/job\n",
        "cgroup/slice/cpu.max": "250000 100000\n",
        "cgroup/slice/job/cpu.max": "max 100000\n",
        "cgroup/slice/job/memory.max": "3000\n",
        "cgroup/slice/job/memory.current": "1500\n",
        "cgroup/slice/job/memory.stat": "anon 900\ninactive_file 500\n",
    })  # fmt: skip
    assert capacity.cores() == 2
    assert capacity.free_memory() == 2000, "the file cache can be dropped"


def test_limits_of_version_1_and_a_path_outside_of_the_container(kernel):
    kernel({
        "proc/self/cgroup": "4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/\n",
        "cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "cgroup/memory/memory.limit_in_bytes": "3000\n",
        "cgroup/memory/memory.usage_in_bytes": "4000\n",
    })  # fmt: skip
    assert capacity.cores() == 1, "half a core is one"
    assert capacity.free_memory() == 0


def test_a_system_without_proc_does_not_say(kernel, monkeypatch, tmp_path):
    monkeypatch.setattr(capacity, "PROC", tmp_path / "nowhere")
    assert capacity.free_memory() is None
    assert capacity.cores() == 4
