"""The metrics of the suite for every scored frame: the functions that `bench.results.metrics.METRICS` names.

Each takes `ScoredPoses` and returns (frames,) values in the metric's unit, NaN where a frame has none, or None where
the metric is not defined. The formulas are those of `bench.metrics`; what an accounting changes is here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.evaluation.counting import ScoredPoses, evaluation_batches
from bench.geometry.skeleton import MPI_INF_3DHP_17

Values = NDArray[np.floating[Any]]


def mpjpe(poses: ScoredPoses) -> Values:
    """Mean over the scored joints, the root included, mm."""
    values: Values = poses.errors.numpy().astype(np.float64).mean(axis=1)
    return values


def mpjpe_raw_root(poses: ScoredPoses) -> Values | None:
    """MPJPE with the root as predicted, mm."""
    if poses.accounting.root != "zero":
        return None
    values: Values = mpjpe(poses) + poses.root_errors.float().numpy().astype(np.float64) / len(poses.joints)
    return values


def p_mpjpe(poses: ScoredPoses) -> Values:
    """P-MPJPE, mm; under some accountings the mean of the evaluation batch, if that mixes actions."""
    values = metrics.p_mpjpe(poses.predicted, poses.target, reduce="none").float().numpy()
    return values if poses.accounting.p_mpjpe == "frame" else _averaged_in_mixed_batches(values, poses)


def n_mpjpe(poses: ScoredPoses) -> Values:
    """N-MPJPE, mm."""
    values: Values = metrics.n_mpjpe(poses.predicted, poses.target, reduce="none").float().numpy()
    return values


def mpjve(poses: ScoredPoses) -> Values:
    """MPJVE of the step to each frame, mm per frame, by the rule of the accounting; NaN for frames without a step."""
    rule, counted = poses.accounting.velocity, poses.counted
    if rule == "none":
        return np.full(len(counted.rows), np.nan, np.float32)
    if rule == "windows":  # all frames of all windows, whether they count or not
        whole = replace(poses.accounting, tail="twice", padding="counted", action="equal")
        joined = ScoredPoses.of(poses.predictions, poses.dataset, whole)
        steps = _steps(joined.predicted, joined.target, joined.videos)
        return steps.groupby(joined.videos).mean().reindex(counted.videos).to_numpy(np.float32)
    if rule == "batch":
        batches = evaluation_batches(poses)
        order = np.argsort(batches, kind="stable")
        steps = _steps(poses.predicted[order], poses.target[order], batches[order])
        means = steps.groupby(batches[order]).transform("mean").to_numpy(np.float32)
        return means[np.argsort(order, kind="stable")]
    steps = _steps(poses.predicted, poses.target, (~poses.follows).cumsum())
    if rule == "frames":
        steps = steps.groupby([counted.actions, counted.videos]).transform("mean")
    return steps.to_numpy(np.float32)


def pck(poses: ScoredPoses) -> Values | None:
    """The official 3DPCK of MPI-INF-3DHP, percent, for its joints alone."""
    pooled = range(poses.accounting.pck_joints)
    return metrics.pck(poses.errors, reduce="none", joints=pooled).numpy() if _has_official_joints(poses) else None


def auc(poses: ScoredPoses) -> Values | None:
    """The official AUC of MPI-INF-3DHP, percent, for its joints alone."""
    pooled = range(poses.accounting.pck_joints)
    return metrics.auc(poses.errors, reduce="none", joints=pooled).numpy() if _has_official_joints(poses) else None


def pck150(poses: ScoredPoses) -> Values:
    """Percent of the scored joints but the root, whose error is zero by definition, within 150 mm; on any skeleton."""
    values: Values = metrics.pck150(poses.errors, reduce="none", root=poses.root).numpy()
    return values


def accel(poses: ScoredPoses) -> Values:
    """Acceleration error at each frame, mm per frame²; NaN unless the frames before and after are its neighbours."""
    values = np.full(len(poses.predicted), np.nan)
    values[1:-1] = metrics.accel(poses.predicted, poses.target, reduce="none").numpy()
    values[1:-1][~(poses.follows[1:-1] & poses.follows[2:])] = np.nan
    return values


def _has_official_joints(poses: ScoredPoses) -> bool:
    return poses.joints == MPI_INF_3DHP_17.joints


def _averaged_in_mixed_batches(values: NDArray[np.float32], poses: ScoredPoses) -> NDArray[np.float32]:
    """The values; in an evaluation batch that mixes actions, the mean of the batch for each of its frames.

    Batches run over all videos in the order of the data set.
    """
    batches = pd.Series(np.arange(len(values)) // poses.accounting.p_mpjpe_batch)
    mixed = pd.Series(poses.counted.actions).groupby(batches).transform("nunique") > 1
    means = pd.Series(values.astype(np.float64)).groupby(batches).transform("mean")
    return np.where(mixed, means, values).astype(np.float32)


def _steps(predicted: Tensor, target: Tensor, pieces: NDArray[np.int64]) -> pd.Series:
    """The velocity error of the step to each frame, NaN for the first of a piece. Pieces lie end to end: (frames,)."""
    steps = np.full(len(pieces), np.nan)
    steps[1:] = metrics.mpjve(predicted, target, reduce="none").numpy()
    steps[1:][np.diff(pieces) != 0] = np.nan
    return pd.Series(steps)
