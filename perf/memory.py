"""Memory that can be counted exactly, on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.method import Method


def held_for_backward(loss: Callable[[Method], Tensor], method: Method) -> int:
    """Bytes that autograd keeps between `loss(method)` and its backward pass, parameters and buffers not counted.

    Memory that a kernel needs only while it runs is not included.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in [*method.parameters(), *method.buffers()]}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # with its history, a kept output would keep itself alive forever

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = loss(method)
    size = sum(held.values())
    del total  # kept alive until here, so that no address is used for two tensors
    return size
