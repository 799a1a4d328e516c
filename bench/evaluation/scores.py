"""From a trained method to numbers: predict the test set once, keep the predictions, score them.

Accounting `shared`: every valid test frame counts exactly once, and the predicted root is zero as the target's is.
Test-time noise is keyed by seed and window, so that a score does not depend on batch size, order or device count.
Predictions are kept whole, so that any other accounting can be scored from them: it is a choice of the predicted frames
that count, in which order and for which action, a rule for the root, and a rule for metrics that are no frame's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.schema import Averaging
from bench.data.mpi_inf_3dhp_labels import w2929
from bench.evaluation.groups import Groups, groups

MM = 1000.0


@dataclass(frozen=True)
class Scores:
    """Errors of one method on one test set, per scored frame and joint.

    Under `shared` the scored frames are the valid ones, each once; what follows in brackets is of other accountings.

    sequences: the videos, rows as in PoseDataset. rows: (frames,) where in its blocks each scored frame lies. errors:
    (frames, scored joints) mm, root zeroed [or not]. aligned, scaled: (frames,) mm, P-MPJPE and N-MPJPE of each frame.
    velocity: (frames,) mm per frame, the step that leads to each frame; NaN where the frame before belongs to another
    video or is not valid [or the mean step of the frame's video or batch]. root_errors: (frames,) mm, how far from zero
    the root was predicted [None where it was not set to zero]. averaging: what the headline is a mean over, actions or
    frames. pck, auc: (frames,) percent, for joints of MPI-INF-3DHP only. activities: (frames,) what is done in each, by
    number, where the data set says it. [actions: (frames,), what each frame counts for, if not for the action of its
    video. weights: of the actions in the mean over them, if they are not alike.]
    """

    sequences: pd.DataFrame
    rows: NDArray[np.int64]
    errors: NDArray[np.float32]
    aligned: NDArray[np.float32]
    scaled: NDArray[np.float32]
    velocity: NDArray[np.float32]
    root_errors: NDArray[np.float32] | None
    joints: tuple[str, ...]
    averaging: Averaging = "actions"
    pck: NDArray[np.float64] | None = None
    auc: NDArray[np.float64] | None = None
    activities: NDArray[np.uint8] | None = None
    actions: NDArray[np.str_] | None = None
    weights: Mapping[str, float] | None = None

    @property
    def units(self) -> dict[str, str]:
        """The metrics that were taken, and the unit of each."""
        taken = METRICS if self.pck is None else METRICS | MPI_INF_3DHP_METRICS
        return {name: unit for name, unit in taken.items() if name != "mpjpe_raw_root" or self.root_errors is not None}

    @cached_property
    def per_frame(self) -> pd.DataFrame:
        """One row a scored frame: subject, action, sequence, camera, and every metric of that frame."""
        video = np.repeat(np.arange(len(self.sequences)), self.sequences["frames"])[self.rows]
        frames = self.sequences[["subject", "action", "sequence", "camera"]].iloc[video].reset_index(drop=True)
        if self.actions is not None:
            frames["action"] = self.actions
        mpjpe = self.errors.astype(np.float64).mean(axis=1)
        frames = frames.assign(
            mpjpe=mpjpe,
            p_mpjpe=self.aligned.astype(np.float64),
            n_mpjpe=self.scaled.astype(np.float64),
            mpjve=self.velocity.astype(np.float64),
        )
        if self.root_errors is not None:
            frames["mpjpe_raw_root"] = mpjpe + self.root_errors.astype(np.float64) / self.errors.shape[1]
        return frames if self.pck is None else frames.assign(pck=self.pck, auc=self.auc)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Tidy: metric, action, value, unit, frames.

        `action` is the name of one, "average" (mean over the actions, plain unless `weights` says otherwise) or
        "all frames".
        """
        rows = []
        for metric, unit in self.units.items():
            column = self.per_frame[metric]
            by_action = column.groupby(self.per_frame["action"], sort=True)
            means, counts = by_action.mean(), by_action.count()
            for action in means.index:
                rows.append((metric, str(action), float(means[action]), unit, int(counts[action])))
            rows.append((metric, "average", self._average(means), unit, int(counts.sum())))
            rows.append((metric, "all frames", float(column.mean()), unit, int(counts.sum())))
        return pd.DataFrame(rows, columns=["metric", "action", "value", "unit", "frames"])

    def _average(self, means: pd.Series) -> float:
        """Mean over the actions that have a value."""
        if self.weights is None:
            return float(means.mean())
        weights = means.dropna().index.map(self.weights).to_numpy(float)
        return float((means.dropna() * weights).sum() / weights.sum()) if len(weights) else float("nan")

    @cached_property
    def summary(self) -> dict[str, float]:
        """The headline numbers: each metric over what `averaging` says, and the other mean beside it.

        That one is called `<metric>_frames` where the headline is a mean over actions, else `<metric>_actions`. Of the
        six test sequences of MPI-INF-3DHP also `<metric>_w2929`, by the weights of its older labels. The velocity is
        left out where no two scored frames are neighbours.
        """
        means = ("average", ""), ("all frames", "_frames")
        if self.averaging == "frames":
            means = ("all frames", ""), ("average", "_actions")
        values = self.table.dropna(subset="value").set_index(["action", "metric"])["value"]
        found = {f"{metric}{suffix}": float(value) for row, suffix in means for metric, value in values[row].items()}
        if self.pck is not None:
            weighted = {f"{metric}_w2929": w2929(by_sequence) for metric, by_sequence in self.per_action.items()}
            found |= {name: value for name, value in weighted.items() if value is not None}
        return found

    def unit(self, name: str) -> str:
        """The unit of a number of `summary`."""
        for suffix in SUFFIXES:
            name = name.removesuffix(suffix)
        return self.units[name]

    @cached_property
    def groups(self) -> Groups:
        """{kind of group: {name: {metric: value, "frames": count}}}, as `bench.evaluation.groups.groups`."""
        return groups(self)

    @property
    def per_action(self) -> dict[str, dict[str, float]]:
        """{metric: {action: value}}, without the velocity of an action in which no two scored frames are neighbours."""
        actions = self.table[~self.table["action"].isin(["average", "all frames"])].dropna(subset="value")
        return {
            str(metric): {
                str(action): float(value) for action, value in zip(rows["action"], rows["value"], strict=True)
            }
            for metric, rows in actions.groupby("metric")
        }

    @property
    def per_joint(self) -> dict[str, float]:
        """Mean error of each joint over all frames, mm."""
        return dict(zip(self.joints, self.errors.astype(np.float64).mean(axis=0).tolist(), strict=True))


# What a table may show, and the unit it is in.
METRICS = {"mpjpe": "mm", "p_mpjpe": "mm", "n_mpjpe": "mm", "mpjve": "mm/frame", "mpjpe_raw_root": "mm"}

MPI_INF_3DHP_METRICS = {"pck": "%", "auc": "%"}  # of its joints alone

SUFFIXES = ("_frames", "_actions", "_w2929")  # of the means that are not the headline
