"""Several samples per window, combined into one prediction: their mean, and two choices that use the ground truth.

Of H hypotheses papers report the mean, the best one, and joints chosen by reprojection (Shan et al., "Diffusion-Based
3D Human Pose Estimation with Multi-Hypothesis Aggregation", ICCV 2023). Only the mean is a prediction. The best is
chosen by its error: an oracle. Reprojection needs the position of the root, which a lifter does not predict: with the
true position it is an oracle too. Both are named as oracles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.accounting import SHARED, Accounting
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import SEQUENCE, answered_part, block_rows
from bench.evaluation.predictions import Predictions, predict
from bench.geometry.camera import Camera, View
from bench.method.base import Method

Floats = NDArray[np.float32]

MEAN, BEST, REPROJECTED = "mean", "best_oracle", "reprojected_joints_oracle_root"


def lift_hypotheses(
    method: Method,
    dataset: PoseDataset,
    views: Sequence[View],
    count: int,
    *,
    flip: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    label: str = "predict",
    accounting: Accounting = SHARED,
) -> dict[str, Predictions]:
    """Lift every video `count` times, and combine the hypotheses into one prediction in each of the three ways.

    MEAN: of each joint. BEST: in each frame the pose with the lowest MPJPE, its root at zero. REPROJECTED: for each
    joint the hypothesis that falls nearest to the 2D keypoint when the root of the pose is at its true position; left
    out unless every camera is calibrated. views: the camera of each video. The rest is as in
    `bench.evaluation.predict`, whose prediction is the first hypothesis. One hypothesis is in memory at a time.
    """

    def lifted(hypothesis: int) -> Predictions:
        numbered = f"{label} {hypothesis + 1}/{count}"
        options: dict[str, Any] = {"flip": flip, "seed": seed, "device": device, "accounting": accounting}
        return predict(method, dataset, label=numbered, hypothesis=hypothesis, **options)

    first = lifted(0)
    total = first.poses_3d.astype(np.float64)
    choices = {BEST: _Choice(first, dataset, _pose_error)}
    if all(isinstance(view, Camera) for view in views):
        choices[REPROJECTED] = _Choice(first, dataset, partial(_reprojection_error, views))
    for hypothesis in range(1, count):
        poses_3d = lifted(hypothesis).poses_3d
        total += poses_3d
        for choice in choices.values():
            choice.offer(poses_3d)
    found = {MEAN: (total / count).astype(np.float32)}
    found |= {name: choice.poses_3d for name, choice in choices.items()}
    return {name: Predictions(first.window, first.table, poses_3d) for name, poses_3d in found.items()}


# From a data set, the number of a video, the rows that windows answer for (windows, frames or 1),
# and their poses (windows, frames or 1, joints, 3) to costs: (windows, frames or 1, joints), or 1 per whole pose.
Cost = Callable[[PoseDataset, int, NDArray[np.int64], Floats], Floats]


class _Choice:
    """The hypothesis of least cost so far, chosen per pose or per joint; one video at a time, to bound memory."""

    def __init__(self, first: Predictions, dataset: PoseDataset, cost: Cost) -> None:
        self._dataset, self._cost = dataset, cost
        self._rows = block_rows(dataset, *answered_part(first.table, first.window))
        self._videos = first.table[:, SEQUENCE]
        borders = [0, *(np.flatnonzero(np.diff(self._videos)) + 1).tolist(), len(self._videos)]
        self._parts = [slice(start, end) for start, end in itertools.pairwise(borders)]
        self._lowest = [self._costs(part, first.poses_3d) for part in self._parts]
        self.poses_3d = first.poses_3d.copy()

    def offer(self, poses_3d: Floats) -> None:
        """Replace the poses, or joints, for which another hypothesis costs less."""
        for part, lowest in zip(self._parts, self._lowest, strict=True):
            cost = self._costs(part, poses_3d)
            better = np.broadcast_to((cost < lowest)[..., None], poses_3d[part].shape)
            self.poses_3d[part][better] = poses_3d[part][better]
            np.minimum(cost, lowest, out=lowest)

    def _costs(self, part: slice, poses_3d: Floats) -> Floats:
        return self._cost(self._dataset, int(self._videos[part.start]), self._rows[part], poses_3d[part])


def _pose_error(dataset: PoseDataset, video: int, rows: NDArray[np.int64], poses_3d: Floats) -> Floats:
    """MPJPE of each pose over the scored joints, metres."""
    joints = slice(None) if dataset.scored is None else list(dataset.scored)
    apart = _rooted(dataset, poses_3d) - dataset.poses_3d.numpy()[rows]
    errors: Floats = np.linalg.norm(apart[..., joints, :], axis=-1).mean(axis=-1, keepdims=True)
    return errors


def _reprojection_error(
    views: Sequence[View], dataset: PoseDataset, video: int, rows: NDArray[np.int64], poses_3d: Floats
) -> Floats:
    """How far each joint falls from its 2D keypoint, in half image widths."""
    view = views[video]
    assert isinstance(view, Camera)
    placed = _rooted(dataset, poses_3d) + dataset.roots.numpy()[rows][..., None, :]
    errors: Floats = np.linalg.norm(view.project(placed) - dataset.keypoints_2d.numpy()[rows], axis=-1)
    return errors


def _rooted(dataset: PoseDataset, poses_3d: Floats) -> Floats:
    """The poses with their root at zero."""
    rooted = poses_3d.copy()
    rooted[..., dataset.skeleton.root, :] = 0
    return rooted
