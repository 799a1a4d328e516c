"""The mean pose: predicts the training set's mean for every frame. The number that any method must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.method import Generators, Method, Window

if TYPE_CHECKING:
    from bench.data.pose_dataset import PoseDataset


class MeanPose(Method):
    """The training set's mean root-relative pose in camera axes, whatever the input.

    dim, depth and heads are ignored; they are accepted so that every method can be built in the same way.
    """

    name = "mean_pose"
    trainable = False

    def __init__(self, frames: int = 27, joints: int = 17, *, dim: int = 0, depth: int = 0, heads: int = 0) -> None:
        super().__init__()
        self.window = Window(frames, targets="all")
        self.register_buffer("pose", torch.zeros(joints, 3))

    def prepare(self, training: PoseDataset) -> None:
        self.get_buffer("pose").copy_(training.poses_3d.to(torch.float64).mean(dim=0))

    def network(self, keypoints_2d: Tensor) -> Tensor:
        """(batch, frames, joints, 2) to (batch, frames, joints, 3) metres."""
        return self.get_buffer("pose").expand(*keypoints_2d.shape[:-1], 3).clone()

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        return self.network(keypoints_2d)
