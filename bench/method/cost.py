"""What a method costs: multiply-accumulates, counted without running it, and what a run of it took here."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.data.batch import Batch
from bench.method.base import Method, checked_lift, checked_loss
from bench.results.records import Cost
from bench.system.errors import BenchError
from bench.system.provenance import provenance

Answer = TypeVar("Answer")


def macs_per_frame(method: Method, joints: int) -> int:
    """Multiply-accumulates of matrix products for each lifted frame, all sampling steps included, not mirrored.

    Counted on PyTorch's meta device: shapes only, no arithmetic, so a published size takes seconds.
    Raises BenchError if the method cannot be called there, or returns poses of another shape than its window asks for.
    """
    hollow = copy.deepcopy(method).eval().to("meta")
    window = torch.zeros(1, method.window.frames, joints, 2, device="meta")
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            lifted = checked_lift(hollow, window)
    except (RuntimeError, TypeError, LookupError) as error:  # torch, of shapes and of values that do not exist
        raise BenchError(
            f"{method.name}: lift() of {tuple(window.shape)} failed on PyTorch's meta device, where the cost of a "
            f"method is counted and tensors have shapes but no values: {type(error).__name__}: {error}"
        ) from error
    return int(counter.get_total_flops()) // (2 * lifted.shape[1])


def training_macs(method: Method, joints: int) -> int:
    """Multiply-accumulates of one window's loss and its gradients.

    Counted likewise; a loss that looks at values, which the meta device does not have, is run once on the CPU.
    Raises BenchError if there is no total to minimise.
    """
    try:
        return _count_training(method, joints, "meta")
    except (NotImplementedError, RuntimeError):
        with torch.random.fork_rng(devices=[]):
            return _count_training(method, joints, "cpu")


def _count_training(method: Method, joints: int, device: str) -> int:
    method = copy.deepcopy(method).train().to(device)
    shape = (2, method.window.frames, joints)  # two: a batch norm learns nothing from one
    batch = Batch(torch.zeros(*shape, 2, device=device), torch.zeros(*shape, 3, device=device))
    with FlopCounterMode(display=False) as counter:
        checked_loss(method, batch)["total"].backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // (2 * len(batch))


def timed(predict: Callable[[], Answer], frames: int, device: torch.device) -> tuple[Answer, Cost]:
    """What a call answers, and what lifting so many test frames took by the clock.

    Peak memory is what PyTorch held in tensors on a CUDA device, weights and inputs included, CUDA's own context not.
    On a CPU it is what the process grew by, the predictions included, libraries, weights and data that were there
    before not; None where the system does not tell (it is asked for in Linux's way).
    """
    on_gpu = device.type == "cuda"
    before = 0 if on_gpu else _settled_memory()
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    answer = predict()
    if on_gpu:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    cost = Cost(
        test_frames_per_second=frames / seconds,
        peak_memory_mb=torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else _grown_mb(before),
        device=torch.cuda.get_device_name(device) if on_gpu else provenance()["hardware"]["cpu"],
        threads=torch.get_num_threads(),
    )
    return answer, cost


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _settled_memory() -> int | None:
    """Resident bytes of this process once what it does not use is given back, its peak being set to that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # of the C library that Linux mostly has
        CLEAR.write_text("5")  # the peak begins anew: proc(5)
        return _status("VmRSS")
    return None


def _grown_mb(before: int | None) -> float | None:
    """How far the peak lies above the resident memory before, in 10^6 bytes."""
    grown = 0 if before is None else _status("VmHWM") - before
    return grown / 1e6 if grown > 0 else None


def _status(name: str) -> int:
    """A number of bytes that Linux keeps of this process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
