"""What a number was made with: code, packages, hardware. Goes into committed records: no path, no user, no host."""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "mlflow", "pandas")
# What running and reporting itself changes, and no number depends on.
NOT_CODE = (":(exclude,top)results", ":(exclude,top)*.md")


def provenance() -> dict[str, Any]:
    """`git` (sha, dirty), `packages` (version or None, and python) and `hardware` (cpu, cores, gpu, gpus, platform).

    Looked up once a process: call it before training, lest it name an edit made meanwhile. `sha` and `dirty` are None
    outside a git checkout of the suite; results and Markdown files do not make it dirty. `gpu` is None without CUDA.
    """
    return copy.deepcopy(_facts())


@functools.cache
def _facts() -> dict[str, Any]:
    return {"git": _git(), "packages": _packages(), "hardware": _hardware()}


def _git() -> dict[str, Any]:
    file = Path(__file__).resolve()
    if _output("git", "-C", str(file.parent), "ls-files", "--error-unmatch", file.name) is None:
        return {"sha": None, "dirty": None}  # installed as a package, perhaps inside a checkout of something else
    checkout = ("git", "--no-optional-locks", "-C", str(file.parents[2]))
    changes = _output(*checkout, "status", "--porcelain", "--", ".", *NOT_CODE)
    return {"sha": _output(*checkout, "rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _packages() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _hardware() -> dict[str, Any]:
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if gpus else None,
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "platform": f"{platform.system()} {platform.machine()}",  # a kernel's release can carry its builder's name
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()


def _output(*command: str) -> str | None:
    """What a command prints; None if it is not there, fails, or takes over ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
