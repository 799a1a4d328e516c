"""The scores of one method on one test set: every metric of every scored frame, and their means.

Accounting `shared`: every valid test frame counts exactly once, and the predicted root is zero as the target's is.
Under other accountings frames may count twice, or for other actions than those of their videos.
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
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.results.metrics import described

MM = 1000.0  # in a metre


@dataclass(frozen=True)
class Scores:
    """Errors of one method on one test set, per scored frame and joint.

    sequences: the videos, rows as in PoseDataset. rows: (frames,) the row of each scored frame in its blocks.
    errors: (frames, scored joints) mm, the root zeroed unless the accounting leaves it raw. joints: their names.
    values: metric -> (frames,) in its unit; NaN if a frame has none, such as the velocity of a video's first frame.
    averaging: what the headline is a mean over, actions or frames.
    activities: (frames,) the activity of each, by number; None if unknown.
    actions: (frames,) the action that each frame counts for, if not that of its video.
    weights: of the actions in the mean over them, if they are not equal.
    """

    sequences: pd.DataFrame
    rows: NDArray[np.int64]
    errors: NDArray[np.float32]
    values: Mapping[str, NDArray[np.float64]]
    joints: tuple[str, ...]
    averaging: Averaging = "actions"
    activities: NDArray[np.uint8] | None = None
    actions: NDArray[np.str_] | None = None
    weights: Mapping[str, float] | None = None

    @property
    def units(self) -> dict[str, str]:
        """The computed metrics, and the unit of each."""
        return {name: self.unit(name) for name in self.values}

    @property
    def official(self) -> bool:
        """Whether all joints of MPI-INF-3DHP were scored, as its own evaluation requires."""
        return self.joints == MPI_INF_3DHP_17.joints

    @cached_property
    def per_frame(self) -> pd.DataFrame:
        """One row per scored frame: subject, action, sequence, camera, and every metric of that frame."""
        video = np.repeat(np.arange(len(self.sequences)), self.sequences["frames"])[self.rows]
        frames = self.sequences[["subject", "action", "sequence", "camera"]].iloc[video].reset_index(drop=True)
        if self.actions is not None:
            frames["action"] = self.actions
        return frames.assign(**self.values)

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
        """The headline numbers: each metric averaged as `averaging` says, and the other mean beside it.

        The other one is called `<metric>_frames` where the headline is a mean over actions, else `<metric>_actions`. Of
        the six test sequences of MPI-INF-3DHP also `<metric>_w2929`, by the weights of its older labels. A metric
        without a value is left out, such as the velocity if no two scored frames are neighbours.
        """
        means = ("average", ""), ("all frames", "_frames")
        if self.averaging == "frames":
            means = ("all frames", ""), ("average", "_actions")
        values = self.table.dropna(subset="value").set_index(["action", "metric"])["value"]
        found = {f"{metric}{suffix}": float(value) for row, suffix in means for metric, value in values[row].items()}
        if self.official:
            weighted = {f"{metric}_w2929": w2929(by_sequence) for metric, by_sequence in self.per_action.items()}
            found |= {name: value for name, value in weighted.items() if value is not None}
        return found

    def unit(self, name: str) -> str:
        """The unit of a number of `summary`. Raises KeyError for an unknown name."""
        metric = described(name)
        if metric is None:
            raise KeyError(name)
        return metric.unit

    @cached_property
    def groups(self) -> Groups:
        """{kind of group: {name: {metric: value, "frames": count}}}, as `bench.evaluation.groups.groups`."""
        return groups(self)

    @property
    def per_action(self) -> dict[str, dict[str, float]]:
        """{metric: {action: value}}, without the actions in which no frame has the metric."""
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
