"""Which predicted frames count, in which order and for which action, by the rules of an accounting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.accounting import Accounting
from bench.data.pose_dataset import PoseDataset, offsets
from bench.data.windows import (
    COUNT_FROM,
    SEQUENCE,
    answered_part,
    block_rows,
    counted_frames,
    recounted,
    test_windows,
)
from bench.evaluation.predictions import Predictions, _check_once
from bench.evaluation.scores import MM
from bench.metrics import joint_errors


@dataclass(frozen=True)
class CountedFrames:
    """The predicted frames that count, in the order of the windows; one that counts twice appears twice.

    windows, slots: (frames,) the window of each frame, and its place among the frames that the window answers for.
    rows: (frames,) its row in the blocks of the data set. videos, actions: (frames,) its video, and the action that it
    counts for.
    """

    windows: NDArray[np.int64]
    slots: NDArray[np.int64]
    rows: NDArray[np.int64]
    videos: NDArray[np.int64]
    actions: NDArray[np.str_]

    def __getitem__(self, which: NDArray[Any]) -> CountedFrames:
        parts = (self.windows, self.slots, self.rows, self.videos, self.actions)
        return CountedFrames(*(part[which] for part in parts))


@dataclass(frozen=True)
class ScoredPoses:
    """Predicted and true poses of the scored frames, as the function of a metric sees them.

    predicted, target: (frames, scored joints, 3) float64, mm, root-relative in camera axes. The frames of a video stand
    in their order, one video after the other. The predicted root is zero, unless an accounting other than `shared`
    keeps it. root_errors: (frames,) mm, how far from zero it was predicted.

    predictions, dataset, accounting, counted: their origin, for metrics that depend on the accounting.
    """

    predicted: Tensor
    target: Tensor
    root_errors: Tensor
    predictions: Predictions
    dataset: PoseDataset
    accounting: Accounting
    counted: CountedFrames

    @classmethod
    def of(cls, predictions: Predictions, dataset: PoseDataset, accounting: Accounting) -> ScoredPoses:
        """The scored poses of some predictions. Raises ValueError unless each valid frame is predicted exactly once."""
        counted = count(predictions, dataset, accounting)
        predicted = torch.from_numpy(predictions.poses_3d[counted.windows, counted.slots]).double() * MM
        target = dataset.poses_3d[torch.from_numpy(counted.rows)].double() * MM
        root = predicted[:, dataset.skeleton.root].clone()
        if accounting.root == "zero":
            predicted[:, dataset.skeleton.root] = 0
        elif accounting.root == "reroot":
            predicted -= root[:, None]
        scored = slice(None) if dataset.scored is None else list(dataset.scored)
        root_errors = torch.linalg.vector_norm(root, dim=-1)
        return cls(predicted[:, scored], target[:, scored], root_errors, predictions, dataset, accounting, counted)

    @property
    def joints(self) -> tuple[str, ...]:
        """The names of the scored joints."""
        names = self.dataset.skeleton.joints
        return names if self.dataset.scored is None else tuple(names[joint] for joint in self.dataset.scored)

    @property
    def root(self) -> int | None:
        """Which of the scored joints is the root; None if it is not scored."""
        name = self.dataset.skeleton.joints[self.dataset.skeleton.root]
        return self.joints.index(name) if name in self.joints else None

    @property
    def fps(self) -> float:
        """Frames per second of the videos."""
        return self.dataset.fps

    @property
    def videos(self) -> NDArray[np.int64]:
        """(frames,) the number of the video that each frame is of."""
        return self.counted.videos

    @cached_property
    def follows(self) -> NDArray[np.bool_]:
        """(frames,) whether the frame before each is its neighbour in the same video: not the first, none left out."""
        rows = self.counted.rows
        begins: NDArray[np.bool_] = np.isin(rows, self.dataset.starts) | (np.diff(rows, prepend=-2) != 1)
        return ~begins

    @cached_property
    def errors(self) -> Tensor:
        """(frames, scored joints) float32, mm: distance of every joint, rounded as it is kept."""
        return joint_errors(self.predicted, self.target).float()

    def copied(self) -> ScoredPoses:
        """A copy with its own poses, for a function that might modify them."""
        return replace(self, predicted=self.predicted.clone(), target=self.target.clone())


def count(predictions: Predictions, dataset: PoseDataset, accounting: Accounting) -> CountedFrames:
    """The counted frames of an accounting. Raises ValueError unless each valid frame is predicted once."""
    table, window = answered_part(predictions.table, predictions.window)
    rows = block_rows(dataset, table, window)
    _check_once(rows[counted_frames(table, window)], dataset)
    counts = counted_frames(recounted(table, dataset.lengths, window, accounting), window)
    if dataset.valid is not None:
        counts &= dataset.valid.numpy()[rows]
    windows, slots = np.nonzero(counts)
    videos = table[windows, SEQUENCE]
    actions = dataset.sequences["action"].to_numpy(str)
    each = CountedFrames(windows, slots, rows[counts], videos, actions[videos])
    if accounting.action == "equal":
        return each
    names = np.unique(actions)
    members = [np.flatnonzero(np.char.startswith(each.actions, name)) for name in names]
    swallowed = each[np.concatenate(members)]
    return replace(swallowed, actions=np.repeat(names, [len(one) for one in members]))


def evaluation_batches(poses: ScoredPoses) -> NDArray[np.int64]:
    """The evaluation batch of each frame, (frames,): consecutive windows of one action, as in the data set."""
    predictions, counted = poses.predictions, poses.counted
    windows = np.bincount(test_windows(poses.dataset.lengths, predictions.window)[:, SEQUENCE])  # of each video
    hop = predictions.window.answers
    within = predictions.table[counted.windows, COUNT_FROM] // hop
    batches, last = np.empty(len(counted.rows), np.int64), -1
    for action in np.unique(counted.actions):
        chosen = np.flatnonzero(counted.actions == action)
        videos, number = np.unique(counted.videos[chosen], return_inverse=True)
        window = offsets(windows[videos])[number] + within[chosen]
        batches[chosen] = last + 1 + window // poses.accounting.velocity_batch
        last = int(batches[chosen].max())
    return batches
