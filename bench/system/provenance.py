"""What a number was made with: code, packages, hardware and its kernels.

It goes into committed records, so it names no path, no user and no host.
"""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = ("torch", "numpy", "mlflow", "pandas")
# Files that runs and reports write, and that no number depends on.
NOT_CODE = (":(exclude,top)results", ":(exclude,top)*.md")
# Environment variables that make a kernel library use less than the processor offers.
LIMITS = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")


def provenance() -> dict[str, Any]:
    """`git` (sha, dirty), `packages` (version or None, and python) and `hardware`.

    hardware: cpu, cpu_model (family and model, since virtual machines hide the name), cores, gpu, gpus, cuda, platform,
    and `kernels`: what computes on a CPU (`cpu_capability` of PyTorch, `blas`, `mkl`, `onednn`, `limits` set
    in the environment, `threads`). What is not known is None; `gpu` is None without CUDA.

    Looked up once per process: call it before training, or it may name a later edit. `sha` and `dirty` are None
    outside a git checkout of the suite; results and Markdown files do not make it dirty. Imports torch.
    """
    return copy.deepcopy(_found())


def hardware_text(hardware: Mapping[str, Any]) -> str:
    """The hardware as a record gives it: "AMD EPYC (family 25 model 17), AVX512, MKL 2024.2, ..., 2 cores, ...".

    Two machines with the same text up to cores and GPU add up numbers in the same order.
    """
    kernels = hardware["kernels"]
    libraries = {"MKL": kernels["mkl"], "oneDNN": kernels["onednn"]}
    if not kernels["mkl"]:
        libraries = {"BLAS": kernels["blas"], **libraries}
    parts = [
        hardware["cpu"].replace(",", " ") + (f" ({hardware['cpu_model']})" if hardware["cpu_model"] else ""),
        kernels["cpu_capability"],
        *(f"{name} {version}" for name, version in libraries.items() if version),
        *(f"{name}={value.replace(',', '+')}" for name, value in kernels["limits"].items()),
        f"{hardware['cores']} core{'' if hardware['cores'] == 1 else 's'}",
        hardware["gpu"],
        hardware["platform"],
    ]
    return ", ".join(part for part in parts if part)


@functools.cache
def _found() -> dict[str, Any]:
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
        "cpu": _cpu_info("model name") or _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine(),
        "cpu_model": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if gpus else None,
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "platform": f"{platform.system()} {platform.machine()}",  # a release of Linux can carry its builder's name
        "kernels": _kernels(),
    }


def _cpu_model() -> str | None:
    family, model = _cpu_info("cpu family"), _cpu_info("model")
    return f"family {family} model {model}" if family and model else None


def _cpu_info(key: str) -> str | None:
    """An entry of the first core in /proc/cpuinfo; None if there is none."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.is_file() else ():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _kernels() -> dict[str, Any]:
    """What computes on the CPU. Which kernels oneDNN and MKL choose follows from the processor and `limits`."""
    import torch

    built = torch.__config__.show()
    return {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "blas": _first(r"\bBLAS_INFO=(\w+)", built),
        "mkl": _first(r"Math Kernel Library Version ([\d.]+)", built),
        "onednn": _first(r"MKL-DNN v([\d.]+)", built),
        # a value of another form is not a valid limit, and might hold anything
        "limits": {name: os.environ[name] for name in LIMITS if re.fullmatch(r"[\w,]+", os.environ.get(name, ""))},
        "threads": torch.get_num_threads(),
    }


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1) if found else None


def _output(*command: str) -> str | None:
    """The output of a command; None if there is no such command, it fails, or it takes more than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
