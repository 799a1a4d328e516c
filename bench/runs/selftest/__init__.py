"""The self-test of a machine: every method computes on a device what it computes on one thread of the CPU.

`checks` computes, `outcome` holds the tolerances and what is shown. Only synthetic data: nothing has to be there.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from bench.method.registry import method_class, methods
from bench.results.records import check_portable
from bench.runs.selftest import checks
from bench.runs.selftest.checks import Data, Devices, SkippedError, Subject
from bench.runs.selftest.outcome import Check, Outcome, tolerance
from bench.system.device import choose_device
from bench.system.errors import BenchError
from bench.system.progress import say
from bench.system.provenance import provenance

NOT_COMPILED = "takes minutes: ask with --compile"
DRIVER = Path("/proc/driver/nvidia/version")


def selftest(device: str = "auto", chosen: Sequence[str] = (), compiled: bool = False) -> Outcome:
    """Check methods on a device against one thread of the CPU, and measure their speed.

    device: as `choose_device`. chosen: names of methods (default: all that are registered). compiled: also compile
    networks. A check that fails, or a method that raises an error, does not stop the others. Raises BenchError for a
    device that cannot be used and a method that is not registered.
    """
    where = Devices(choose_device(device))
    for name in chosen:
        if name not in methods():
            method_class(name)  # says which there are
    made_with, data = provenance(), Data.made()
    found = list(_of_device(where))
    speeds = []
    for name in chosen or methods():
        say(f"{name} ...")
        subject = Subject(name, where, data)
        mine = list(_of_method(subject, compiled))
        found += mine
        try:
            speeds.append(checks.speed(subject))
        except Exception as error:  # a method may raise anything
            if all(one.verdict != "failed" for one in mine):  # else it is known already
                found.append(Check(method=name, name="speed", verdict="failed", seconds=0, note=_text(error)))
    gpu = where.on_gpu
    return Outcome(
        device=str(where.device),
        device_name=_name(where.device, made_with["hardware"]["cpu"]),
        against="one thread of the CPU" + ("" if gpu else f", here with {max(torch.get_num_threads(), 2)} threads"),
        driver=_driver() if gpu else None,
        torch_build=_build(),
        packages=made_with["packages"],
        git=made_with["git"],
        hardware=made_with["hardware"],
        checks=tuple(found),
        speeds=tuple(speeds),
    )


def _of_device(where: Devices) -> Iterator[Check]:
    for name, check in checks.OF_THE_DEVICE.items():
        yield _checked(None, name, where, partial(check, where))


def _of_method(subject: Subject, compiled: bool) -> Iterator[Check]:
    for name, check in checks.OF_A_METHOD.items():
        if name == "compile" and not compiled:
            yield Check(method=subject.name, name=name, verdict="skipped", seconds=0, note=NOT_COMPILED)
        else:
            yield _checked(subject.name, name, subject.devices, partial(check, subject))


def _checked(method: str | None, name: str, where: Devices, compute: Callable[[], float]) -> Check:
    """The outcome of one check."""
    largest = tolerance(name, where.on_gpu).largest
    started = time.monotonic()
    value, verdict, note = None, "failed", ""
    try:
        value = compute()
        verdict = "passed" if value <= largest else "failed"
        if not math.isfinite(value):
            value, note = None, "the result is not finite"
    except SkippedError as reason:
        verdict, note = "skipped", str(reason)
    except Exception as error:  # a method, or a device, may raise anything
        note = _text(error)
    seconds = round(time.monotonic() - started, 3)
    return Check.model_validate(
        {
            "method": method,
            "name": name,
            "verdict": verdict,
            "value": value,
            "tolerance": None if verdict == "skipped" else largest,
            "seconds": seconds,
            "note": note,
        }
    )


def _text(error: Exception) -> str:
    """An error in one line that may be shown to others: without its message if that names a path of this machine."""
    lines = str(error).splitlines()
    note = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
    try:
        check_portable(note, "note")
    except BenchError:
        return type(error).__name__
    return note


def _name(device: torch.device, cpu: str) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu if device.type == "cpu" else str(device)


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where it is not known."""
    try:
        found = re.search(r"Kernel Module\D*([\d.]+)", DRIVER.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found.group(1) if found else None


def _build() -> str:
    """How this PyTorch was built."""
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    versions = {"CUDA": torch.version.cuda, "cuDNN": cudnn, "HIP": torch.version.hip}
    built = [f"{name} {version}" for name, version in versions.items() if version]
    return f"PyTorch {torch.__version__}, {', '.join(built) or 'for CPUs'}"
