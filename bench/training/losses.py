"""The losses of an epoch, read from the device from time to time: reading one makes a GPU wait."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from bench.system.errors import BenchError

READ_EVERY = 50  # steps, on a GPU; on a CPU a loss is there as soon as it is computed


class Losses:
    """Means of losses over the windows of an epoch. every: steps between readings; default: as the device requires."""

    def __init__(self, method: str, epoch: int, device: torch.device, every: int | None = None) -> None:
        self._method, self._epoch = method, epoch
        self._every = every or (1 if device.type == "cpu" else READ_EVERY)
        self._unread: list[tuple[tuple[str, ...], Tensor, int]] = []  # of each step: names, losses, windows
        self._steps = self._windows = 0
        self._sums: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    def add(self, losses: Mapping[str, Tensor], windows: int) -> None:
        """Count the losses of a step. Raises BenchError as `read`."""
        self._unread.append((tuple(losses), torch.stack(list(losses.values())), windows))
        if len(self._unread) >= self._every:
            self.read()

    def read(self) -> None:
        """Fetch the losses since the last reading.

        Raises BenchError, naming the first such step, if one of them is infinite or NaN.
        """
        values = iter(torch.cat([stacked for _, stacked, _ in self._unread]).tolist() if self._unread else [])
        for names, _, windows in self._unread:
            self.latest = {name: next(values) for name in names}
            self._steps += 1
            self._windows += windows
            for name, value in self.latest.items():
                if not math.isfinite(value):
                    loss = "the loss" if name == "total" else f"the loss {name!r}"
                    raise BenchError(
                        f"{self._method}: {loss} is {value} in epoch {self._epoch + 1}, step {self._steps}; training "
                        "diverged. Lower recipe.learning_rate or set recipe.gradient_clip"
                    )
                self._sums[name] = self._sums.get(name, 0.0) + value * windows
        self._unread.clear()

    def means(self) -> dict[str, float]:
        """Means over all windows so far. Raises BenchError as `read`."""
        self.read()
        return {name: value / self._windows for name, value in self._sums.items()}
