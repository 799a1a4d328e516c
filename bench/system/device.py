"""Where a method runs, and how precisely: the device, its threads, and the format of its numbers."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from bench.system.errors import BenchError

SMALL = 1_000_000  # parameters

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
COPIES = 2**31  # bytes of main memory that copies of a training set may take

Precision = Literal["float32", "bfloat16"]


def choose_device(name: str) -> torch.device:
    """`auto`: a CUDA GPU if there is one, else the CPU. Raises BenchError for a device that cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"device {name!r} cannot be used here ({reason}); try --device auto") from None
    return device


def resolved_precision(stated: str, device: torch.device) -> Precision:
    """The number format of linear maps and convolutions on a device, from a recipe's `precision`.

    auto: bfloat16, under autocast, on a CUDA device that has it in hardware; float32 elsewhere. float32 never means
    TF32, see `float32_products`.
    """
    if stated != "auto" or device.type != "cuda":
        return "float32"
    with torch.cuda.device(device):  # torch answers for the current device
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def fits(size: int, device: torch.device) -> bool:
    """Whether data of so many bytes may stay on a device: in at most a quarter of what is free on a GPU, `COPIES`
    elsewhere.

    The rest is for weights, gradients and activations, which are not there yet when a training asks.
    """
    if device.type != "cuda":
        return size <= COPIES
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free // 4


@contextmanager
def float32_products() -> Iterator[None]:
    """Compute matrix products and convolutions of float32 numbers in float32, not in TF32.

    TF32 keeps 11 bits of 24. PyTorch leaves it off for matrix products and on for cuDNN's convolutions, which would
    treat methods differently. A CPU is not affected. The previous settings are restored at the end.
    """
    settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


def threads_for(parameters: int, device: torch.device) -> AbstractContextManager[None]:
    """The threads that suit a model of that many parameters: one for a small model on a CPU, otherwise all."""
    if device.type == "cpu":
        keep_freed_memory()
    return one_thread() if device.type == "cpu" and not fills_cpu(parameters, device) else nullcontext()


def fills_cpu(parameters: int, device: torch.device) -> bool:
    """Whether a model of that many parameters computes on all cores of the CPU."""
    return device.type == "cpu" and parameters >= SMALL


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for the next ones, for the rest of this process.

    By default glibc returns large blocks to the system at once, which must clear them page by page when they are asked
    for again: a tenth of the time of a network with 512 channels. Other C libraries are left alone.
    """
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, 2**30)
        set_option(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: for small models on a CPU.

    Their operations are too short to share. On two cores a second thread gains two thirds at best, and slows down
    tenfold if another program uses that core, since threads wait for each other by spinning. Sums on one thread also do
    not depend on the number of cores, so that a record can be reproduced elsewhere.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
