"""The videos of a test set that are drawn, and the predictions of each method for them.

Predictions are those of finished runs, or are made with a file of weights; nothing is trained for a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from bench.geometry.skeleton import Skeleton

Array = NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """One video, every frame.

    keypoints_2d: (frames, joints, 2) normalised screen coordinates; skeleton_2d: their joints. predictions: by method,
    (frames, joints, 3) metres, camera axes, root zero; NaN in frames that are not scored. truth: the same; None where
    it is not known. errors: by method, (frames,) MPJPE in mm over the scored joints (None: all). first: the frame of
    the video's file that is frame 0.
    """

    title: str
    fps: float
    skeleton: Skeleton
    skeleton_2d: Skeleton
    keypoints_2d: Array
    predictions: Mapping[str, Array]
    truth: Array | None = None
    errors: Mapping[str, Array] = field(default_factory=dict)
    scored: tuple[int, ...] | None = None
    first: int = 0

    def __len__(self) -> int:
        return len(self.keypoints_2d)
