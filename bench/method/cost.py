"""What a method costs: multiply-accumulates, counted without running it; seconds and memory, measured here."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.data.batch import Batch
from bench.method.base import Method, checked_lift, checked_loss
from bench.results.records import Cost
from bench.system.errors import BenchError
from bench.system.provenance import provenance

Result = TypeVar("Result")


def macs_per_frame(method: Method, joints: int) -> int | None:
    """Multiply-accumulates of matrix products per lifted frame, all sampling steps included, not mirrored.

    Counted on PyTorch's meta device, where tensors have shapes but no values: a published size takes seconds. None for
    a method that looks at values (`.item()`, NumPy, branches on them), as its count may depend on them. Raises
    BenchError if it does not lift on a CPU either, or returns poses of another shape than its window asks for.
    """
    try:
        with _on(method, "meta") as copied, FlopCounterMode(display=False) as counter:
            checked_lift(copied, torch.zeros(1, method.window.frames, joints, 2, device="meta"))
    except BenchError:
        raise
    except Exception:  # foreign code may raise anything on tensors without values
        _check_that_it_lifts(method, joints)
        return None
    return int(counter.get_total_flops()) // (2 * method.window.answers)


def macs_per_video_frame(method: Method, joints: int) -> int | None:
    """As `macs_per_frame`, for a method that lifts whole videos: what is shared between windows is counted once."""
    frames = 8 * method.window.frames
    try:
        with _on(method, "meta") as copied, FlopCounterMode(display=False) as counter:
            copied.lift_video(torch.zeros(1, frames, joints, 2, device="meta"))
    except Exception:  # foreign code may raise anything on tensors without values
        return None
    return int(counter.get_total_flops()) // (2 * frames)


def macs_text(macs: float | None) -> str:
    """Multiply-accumulates in millions, for a table; `unknown` where they cannot be counted."""
    return "unknown" if macs is None else f"{macs / 1e6:,.1f}"


def _check_that_it_lifts(method: Method, joints: int) -> None:
    """Raises BenchError unless a window can be lifted on a CPU; not tried for a method on the meta device."""
    if any(one.is_meta for one in (*method.parameters(), *method.buffers())):
        return
    window = torch.zeros(1, method.window.frames, joints, 2)
    try:
        with torch.random.fork_rng(devices=[]), _on(method, "cpu") as copied:
            checked_lift(copied, window)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"{method.name}: lift() of {tuple(window.shape)} failed: {type(error).__name__}: {error}"
        ) from error


@contextlib.contextmanager
def _on(method: Method, device: str) -> Iterator[Method]:
    """A copy of a method, ready to lift on another device."""
    with torch.inference_mode():
        yield copy.deepcopy(method).eval().to(device)


def training_macs(method: Method, joints: int) -> int:
    """Multiply-accumulates of one window's loss and its gradients, for an estimate of time.

    Counted as in `macs_per_frame`; a loss that looks at values is run once on the CPU, and what it does outside of
    PyTorch is not counted. Raises BenchError if there is no total to minimise.
    """
    try:
        return _count_training(method, joints, "meta")
    except BenchError:
        raise
    except Exception:  # foreign code may raise anything on tensors without values
        with torch.random.fork_rng(devices=[]):
            return _count_training(method, joints, "cpu")


def _count_training(method: Method, joints: int, device: str) -> int:
    method = copy.deepcopy(method).train().to(device)
    shape = (2, method.window.frames, joints)  # two: a batch norm needs a spread
    batch = Batch(torch.zeros(*shape, 2, device=device), torch.zeros(*shape, 3, device=device))
    with FlopCounterMode(display=False) as counter:
        checked_loss(method, batch)["total"].backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // (2 * len(batch))


def timed(predict: Callable[[], Result], frames: int, device: torch.device) -> tuple[Result, Cost]:
    """The result of `predict`, which lifts `frames` test frames, and its measured cost.

    Peak memory: on a CUDA device, of PyTorch's tensors, weights and inputs included but not CUDA's own context. On a
    CPU, the growth of the process: predictions, but not libraries, weights and data loaded before; None except on
    Linux.
    """
    on_gpu = device.type == "cuda"
    before = 0 if on_gpu else _reset_peak()
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    result = predict()
    if on_gpu:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    cost = Cost(
        test_frames_per_second=frames / seconds,
        peak_memory_mb=torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else _grown_mb(before),
        device=torch.cuda.get_device_name(device) if on_gpu else provenance()["hardware"]["cpu"],
        threads=torch.get_num_threads(),
    )
    return result, cost


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _reset_peak() -> int | None:
    """Free unused memory, reset the recorded peak and return the resident bytes; None where that is not possible."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
        CLEAR.write_text("5")  # resets the peak: proc(5)
        return _status("VmRSS")
    return None


def _grown_mb(before: int | None) -> float | None:
    """The peak above the resident memory before, in 10^6 bytes; None if not known."""
    grown = 0 if before is None else _status("VmHWM") - before
    return grown / 1e6 if grown > 0 else None


def _status(name: str) -> int:
    """An entry of this process in /proc, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
