"""Where a method runs: the device, and how many threads of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from bench.system.errors import BenchError

SMALL = 1_000_000  # parameters


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


def threads_for(parameters: int, device: torch.device) -> AbstractContextManager[None]:
    """The threads that suit a model of that many parameters: one for a small model on a CPU, otherwise all."""
    return one_thread() if device.type == "cpu" and parameters < SMALL else nullcontext()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: for small models on a CPU.

    Their operations are too short to share. On two cores a second thread gains two thirds at best, and costs tenfold
    where another program wants that core, since threads wait for each other by spinning. And sums of one thread do not
    depend on how many cores a machine has: a record can be reproduced elsewhere.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolved_precision(stated: str, device: torch.device) -> str:
    """What a recipe's `precision` comes to on a device: float32 or bfloat16."""
    mixed = stated == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if mixed else "float32"
