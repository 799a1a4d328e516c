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

    options: dict[str, Any] = {"flip": flip, "seed": seed, "device": device, "accounting": accounting}
    return Hypotheses(method, dataset, views, **options).combined(count, label)


class Hypotheses:
    """The hypotheses of a method for a data set, lifted as they are asked for; more of them keep those lifted so far.

    views and options: as `lift_hypotheses`. One hypothesis is in memory at a time.
    """

    def __init__(self, method: Method, dataset: PoseDataset, views: Sequence[View], **options: Any) -> None:
        self._method, self._dataset, self._views, self._options = method, dataset, views, options
        self._choices: dict[str, _Choice] = {}
        self.lifted = 0

    def combined(self, count: int, label: str = "predict") -> dict[str, Predictions]:
        """The first `count` hypotheses as `lift_hypotheses` combines them. Raises ValueError if more were lifted."""
        if count < self.lifted or count < 1:
            raise ValueError(f"{count} hypotheses cannot be combined: {self.lifted} have been already")
        for hypothesis in range(self.lifted, count):
            numbered = f"{label} {hypothesis + 1}/{count}"
            lifted = predict(self._method, self._dataset, label=numbered, hypothesis=hypothesis, **self._options)
            if hypothesis == 0:
                self._start(lifted)
            else:
                self._add(lifted.poses_3d)
            self.lifted += 1
        found = {MEAN: (self._total / count).astype(np.float32)}
        found |= {name: choice.poses_3d.copy() for name, choice in self._choices.items()}
        return {name: Predictions(self._window, self._table, poses_3d) for name, poses_3d in found.items()}

    def _start(self, first: Predictions) -> None:
        self._window, self._table = first.window, first.table
        self._total = first.poses_3d.astype(np.float64)
        self._choices[BEST] = _Choice(first, self._dataset, _pose_error)
        if all(isinstance(view, Camera) for view in self._views):
            self._choices[REPROJECTED] = _Choice(first, self._dataset, partial(_reprojection_error, self._views))

    def _add(self, poses_3d: Floats) -> None:
        self._total += poses_3d
        for choice in self._choices.values():
            choice.offer(poses_3d)


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
