"""From predictions to scores, by the rules of an accounting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.config.accounting import SHARED, Accounting, accounting_of
from bench.config.load import load_benchmark
from bench.config.schema import Averaging, Benchmark, Protocol
from bench.data.mpi_inf_3dhp_labels import README_WEIGHTS
from bench.data.pose_dataset import PoseDataset, offsets
from bench.data.split import testing_part
from bench.data.windows import (
    COUNT_FROM,
    SEQUENCE,
    START,
    answered_part,
    block_rows,
    counted_frames,
    test_windows,
)
from bench.evaluation.predictions import Predictions, _check_once, predict
from bench.evaluation.scores import MM, Scores
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.method.base import Method

# Raised by hand when scoring comes to other numbers: records say by which they were scored.
SCORING_REVISION = 1


def score(
    predictions: Predictions, dataset: PoseDataset, averaging: Averaging = "actions", accounting: Accounting = SHARED
) -> Scores:
    """Score predictions on the scored joints of the data set they were made for.

    Human3.6M's protocols 1 and 2, and MPI-INF-3DHP's PCK and AUC where the joints are its own, all of them. averaging:
    what the headline is a mean over, unless the accounting says. Raises ValueError for predictions that do not have
    each valid frame exactly once.
    """
    counted = _counted(predictions, dataset, accounting)
    predicted, target, root_errors = _poses(predictions, dataset, accounting, counted)
    errors = metrics.joint_errors(predicted, target).float()  # as kept: what is counted of them later is the same
    aligned = metrics.p_mpjpe(predicted, target, reduce="none").float().numpy()
    official = dataset.skeleton == MPI_INF_3DHP_17 and dataset.scored is None
    pooled = range(accounting.pck_joints)
    names = dataset.skeleton.joints
    return Scores(
        sequences=dataset.sequences,
        rows=counted.rows,
        errors=errors.numpy(),
        aligned=aligned if accounting.p_mpjpe == "frame" else _mixed_by_batch(aligned, counted, accounting),
        scaled=metrics.n_mpjpe(predicted, target, reduce="none").float().numpy(),
        velocity=_velocity(predictions, dataset, accounting, counted, predicted, target),
        root_errors=root_errors.float().numpy() if accounting.root == "zero" else None,
        joints=names if dataset.scored is None else tuple(names[joint] for joint in dataset.scored),
        averaging=accounting.average or averaging,
        pck=metrics.pck(errors, reduce="none", joints=pooled).numpy() if official else None,
        auc=metrics.auc(errors, reduce="none", joints=pooled).numpy() if official else None,
        activities=None if dataset.activities is None else dataset.activities.numpy()[counted.rows],
        actions=None if accounting.action == "equal" else counted.actions,
        weights=README_WEIGHTS if accounting.sequence_weights == "readme" else None,
    )


@dataclass(frozen=True)
class _Counted:
    """The predicted frames that count, in the order of the windows; one that counts twice is there twice.

    windows, slots: (frames,) which window each is of, and which of the frames that it answers for. rows: (frames,)
    where it lies in the blocks of the data set. videos, actions: (frames,) which video it is of, what it counts for.
    """

    windows: NDArray[np.int64]
    slots: NDArray[np.int64]
    rows: NDArray[np.int64]
    videos: NDArray[np.int64]
    actions: NDArray[np.str_]

    def __getitem__(self, which: NDArray[Any]) -> _Counted:
        parts = (self.windows, self.slots, self.rows, self.videos, self.actions)
        return _Counted(*(part[which] for part in parts))


def _counted(predictions: Predictions, dataset: PoseDataset, accounting: Accounting) -> _Counted:
    """What counts under an accounting."""
    table, window = answered_part(predictions.table, predictions.window)
    rows, counts = block_rows(dataset, table, window), counted_frames(table, window)
    _check_once(rows[counts], dataset)
    frames = table[:, START, None] + np.arange(window.frames)
    real = (frames >= 0) & (frames < dataset.lengths[table[:, SEQUENCE], None])
    if accounting.tail == "twice":
        counts |= real
    if accounting.padding == "counted":
        counts |= ~real
    if dataset.valid is not None:
        counts &= dataset.valid.numpy()[rows]
    windows, slots = np.nonzero(counts)
    videos = table[windows, SEQUENCE]
    actions = dataset.sequences["action"].to_numpy(str)
    each = _Counted(windows, slots, rows[counts], videos, actions[videos])
    if accounting.action == "equal":
        return each
    names = np.unique(actions)
    members = [np.flatnonzero(np.char.startswith(each.actions, name)) for name in names]
    swallowed = each[np.concatenate(members)]
    return replace(swallowed, actions=np.repeat(names, [len(one) for one in members]))


def _poses(
    predictions: Predictions, dataset: PoseDataset, accounting: Accounting, counted: _Counted
) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and true poses, (frames, scored joints, 3) in mm, and how far from zero the root was, (frames,)."""
    predicted = torch.from_numpy(predictions.poses_3d[counted.windows, counted.slots]).double() * MM
    target = dataset.poses_3d[torch.from_numpy(counted.rows)].double() * MM
    root = predicted[:, dataset.skeleton.root].clone()
    if accounting.root == "zero":
        predicted[:, dataset.skeleton.root] = 0
    elif accounting.root == "reroot":
        predicted -= root[:, None]
    joints = slice(None) if dataset.scored is None else list(dataset.scored)
    return predicted[:, joints], target[:, joints], torch.linalg.vector_norm(root, dim=-1)


def _mixed_by_batch(values: NDArray[np.float32], counted: _Counted, accounting: Accounting) -> NDArray[np.float32]:
    """The values, but where an evaluation batch mixes actions its mean for each of its frames.

    Batches run over all videos in the order of the data set.
    """
    batches = pd.Series(np.arange(len(values)) // accounting.p_mpjpe_batch)
    mixed = pd.Series(counted.actions).groupby(batches).transform("nunique") > 1
    means = pd.Series(values.astype(np.float64)).groupby(batches).transform("mean")
    return np.where(mixed, means, values).astype(np.float32)


def _velocity(
    predictions: Predictions,
    dataset: PoseDataset,
    accounting: Accounting,
    counted: _Counted,
    predicted: Tensor,
    target: Tensor,
) -> NDArray[np.float32]:
    """The velocity error of the step to each scored frame, or what an accounting takes in its place; NaN for none."""
    if accounting.velocity == "none":
        return np.full(len(counted.rows), np.nan, np.float32)
    if accounting.velocity == "windows":  # all frames of all windows, whichever of them count otherwise
        whole = replace(accounting, tail="twice", padding="counted", action="equal")
        joined = _counted(predictions, dataset, whole)
        steps = _steps(*_poses(predictions, dataset, whole, joined)[:2], joined.videos)
        return steps.groupby(joined.videos).mean().reindex(counted.videos).to_numpy(np.float32)
    if accounting.velocity == "batch":
        batches = _batches(predictions, dataset, accounting, counted)
        order = np.argsort(batches, kind="stable")
        steps = _steps(predicted[order], target[order], batches[order])
        means = steps.groupby(batches[order]).transform("mean").to_numpy(np.float32)
        return means[np.argsort(order, kind="stable")]
    # Frames follow each other where their rows do, unless a video begins.
    begins = np.isin(counted.rows, dataset.starts) | (np.diff(counted.rows, prepend=-2) != 1)
    steps = _steps(predicted, target, begins.cumsum())
    if accounting.velocity == "frames":
        steps = steps.groupby([counted.actions, counted.videos]).transform("mean")
    return steps.to_numpy(np.float32)


def _steps(predicted: Tensor, target: Tensor, pieces: NDArray[np.int64]) -> pd.Series:
    """The velocity error of the step to each frame, NaN for the first of a piece. Pieces lie end to end: (frames,)."""
    steps = np.full(len(pieces), np.nan)
    steps[1:] = metrics.mpjve(predicted, target, reduce="none").numpy()
    steps[1:][np.diff(pieces) != 0] = np.nan
    return pd.Series(steps)


def _batches(
    predictions: Predictions, dataset: PoseDataset, accounting: Accounting, counted: _Counted
) -> NDArray[np.int64]:
    """The evaluation batch of each frame, (frames,): so many windows in the order of the data set, of one action."""
    windows = np.bincount(test_windows(dataset.lengths, predictions.window)[:, SEQUENCE])  # of each video
    hop = predictions.window.answers
    within = predictions.table[counted.windows, COUNT_FROM] // hop
    batches, last = np.empty(len(counted.rows), np.int64), -1
    for action in np.unique(counted.actions):
        chosen = np.flatnonzero(counted.actions == action)
        videos, number = np.unique(counted.videos[chosen], return_inverse=True)
        window = offsets(windows[videos])[number] + within[chosen]
        batches[chosen] = last + 1 + window // accounting.velocity_batch
        last = int(batches[chosen].max())
    return batches


def evaluate(
    method: Method,
    dataset: PoseDataset,
    benchmark: Benchmark | Protocol | str,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Scores:
    """Predict and score the test subjects of a benchmark, by the accounting that its protocol states.

    dataset: the whole data set that is tested on, or its test part. benchmark: one, its protocol, or its name.
    options: as `predict`.
    """
    if isinstance(benchmark, str):
        benchmark = load_benchmark(benchmark)
    protocol = benchmark.protocol if isinstance(benchmark, Benchmark) else benchmark
    accounting = accounting_of(protocol.accounting, method.name, protocol.tested_on.dataset)
    testing = testing_part(protocol, dataset)
    options.setdefault("flip", protocol.flip_test)
    predictions = predict(method, testing, seed=seed, device=device, **options)
    return score(predictions, testing, protocol.averaging, accounting)
