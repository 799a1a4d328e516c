"""The frames that a method reads at once, and the windows of one training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """The frames that a method reads at once, and those that it answers for: whose poses it predicts.

    frames: the receptive field in input frames. targets: every frame of the window, the centre one, or the last one
    (a causal method). stride: frames between the starts of neighbouring training windows (default: as many as a window
    answers for). step: temporal down-sampling, input frame i is `step` frames after input frame i - 1.
    """

    frames: int
    targets: Literal["all", "centre", "last"] = "all"
    stride: int = 0
    step: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1 or self.step < 1 or self.stride < 0:
            raise ValueError(f"{self}: frames and step must be at least 1, stride positive")
        if self.targets not in ("all", "centre", "last"):
            raise ValueError(f"{self}: targets must be 'all', 'centre' or 'last'")
        if self.targets == "centre" and self.frames % 2 == 0:
            raise ValueError(f"{self}: targets 'centre' needs an odd number of frames")
        if self.targets == "all" and self.step != 1:
            raise ValueError(f"{self}: targets 'all' needs step 1")
        if self.stride == 0:
            object.__setattr__(self, "stride", self.answers)

    @property
    def answered(self) -> slice:
        """The input frames that the method answers for."""
        if self.targets == "all":
            return slice(0, self.frames)
        last = self.frames // 2 if self.targets == "centre" else self.frames - 1
        return slice(last, last + 1)

    @property
    def answers(self) -> int:
        """How many frames the method answers for: all of the window, or one."""
        return self.frames if self.targets == "all" else 1


@dataclass
class Batch:
    """Windows of one training step.

    keypoints_2d: (batch, frames, joints, 2), normalised screen coordinates.
    poses_3d: (batch, frames, joints, 3), metres, camera axes, root-relative; the target of every input frame.
    supervised: (batch, frames), true where a target is a real frame of the video and counts in the loss.
    whole: the batch that this one is a part of, otherwise itself; `rows` are its windows there. Losses of the parts add
    up to the loss of the whole if they divide by what counts in the whole, and draw random numbers for the whole.
    """

    keypoints_2d: Tensor
    poses_3d: Tensor
    supervised: Tensor = field(default=None)  # type: ignore[assignment]  # filled in below
    part_of: Batch | None = field(default=None, repr=False)
    rows: slice = field(default_factory=lambda: slice(None), repr=False)

    def __post_init__(self) -> None:
        if self.supervised is None:
            self.supervised = torch.ones(self.poses_3d.shape[:2], dtype=torch.bool, device=self.poses_3d.device)

    def __len__(self) -> int:
        return len(self.keypoints_2d)

    @property
    def whole(self) -> Batch:
        return self if self.part_of is None else self.part_of

    def parts(self, windows: int) -> Iterator[Batch]:
        """The batch in parts of so many windows, the last one smaller if they do not divide it."""
        for first in range(0, len(self), windows):
            rows = slice(first, min(first + windows, len(self)))
            yield Batch(self.keypoints_2d[rows], self.poses_3d[rows], self.supervised[rows], self, rows)

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which a GPU can copy on its own."""
        return Batch(self.keypoints_2d.pin_memory(), self.poses_3d.pin_memory(), self.supervised.pin_memory())

    def to(self, device: torch.device, *, asynchronously: bool = False) -> Batch:
        """The batch on a device. asynchronously: from pinned memory, in the order of the device's work."""
        blocks = (self.keypoints_2d, self.poses_3d, self.supervised)
        keypoints_2d, poses_3d, supervised = (block.to(device, non_blocking=asynchronously) for block in blocks)
        return Batch(keypoints_2d, poses_3d, supervised)
