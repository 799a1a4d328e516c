"""Float32 inside mixed precision: for the parts of a method in which millimetres are lost.

Autocast rounds inputs and outputs of linear maps and convolutions to bfloat16, with eight significant bits: a
coordinate of half a metre to steps of 2 mm. Features tolerate that, coordinates do not: for motion of 4 mm per frame, a
perfect prediction that is rounded has a velocity error of 0.9 mm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def in_float32(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Decorate a function of tensors: under autocast it computes in float32, and bfloat16 arguments are converted.

    For the first layer of a network, which reads coordinates, the last one, which returns them, and for losses. Without
    autocast nothing changes.
    """

    @functools.wraps(function)
    def computed(*args: Parameters.args, **named: Parameters.kwargs) -> Returned:
        devices = {one.device.type for one in (*args, *named.values()) if isinstance(one, Tensor)}
        rounding = [device for device in devices if _rounds(device)]
        if not rounding:
            return function(*args, **named)
        with torch.autocast(rounding[0], enabled=False):
            widened: Callable[..., Returned] = function
            return widened(*map(_widened, args), **{name: _widened(value) for name, value in named.items()})

    return computed


def _rounds(device: str) -> bool:
    """Whether autocast is on for a kind of device; the meta device has none."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value
