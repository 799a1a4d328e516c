"""Scores in groups: by subject or test sequence, activity, scene and group of joints; MPI-INF-3DHP's official tables.

Every number is a mean over the frames of its group, each frame with the same weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench import metrics
from bench.data.mpi_inf_3dhp_labels import ACTIVITIES, SCENES
from bench.geometry.skeleton import MPI_INF_3DHP_GROUPS

if TYPE_CHECKING:
    from bench.evaluation.scores import Scores

Groups = dict[str, dict[str, dict[str, float]]]  # kind -> name -> metric, and `frames`


def groups(scores: Scores) -> Groups:
    """Every metric of each group, and how many scored frames the group has.

    Kinds: `subject`, or `sequence` where each subject is a sequence; of MPI-INF-3DHP `activity` (if the data say
    which), `scene`, and `joint_group`, over all frames. Groups without frames and metrics without value are left out.
    """
    found: Groups = {}
    for kind, labels in _labels(scores).items():
        found[kind] = {
            str(name): {**_means(frames, list(scores.units)), "frames": len(frames)}
            for name, frames in scores.per_frame.groupby(labels, sort=False)
            if name
        }
    if scores.official:
        found["joint_group"] = {
            name: {
                "mpjpe": float(scores.errors[:, joints].astype(np.float64).mean()),
                "pck": float(metrics.pck(scores.errors, joints=joints)),
                "auc": float(metrics.auc(scores.errors, joints=joints)),
                "frames": len(scores.errors),
            }
            for name, joints in MPI_INF_3DHP_GROUPS.items()
        }
    return {kind: names for kind, names in found.items() if names}


def _means(frames: pd.DataFrame, units: list[str]) -> dict[str, float]:
    return {str(metric): float(value) for metric, value in frames[units].mean().dropna().items()}


def official_tables(scores: Scores) -> dict[str, pd.DataFrame]:
    """What the evaluation script of MPI-INF-3DHP prints (Mehta et al., 3DV 2017): by `sequence` and by `activity`.

    Columns: PCK and AUC of each group of joints and `Total`, MPJPE of each joint and `Average`; percent and mm. The
    activities end with `All`, every scored frame once; one without frames has NaN. Only tables that the data allow;
    none for another data set.
    """
    if not scores.official:
        return {}
    of = {**MPI_INF_3DHP_GROUPS, "Total": metrics.MPI_INF_3DHP_JOINTS}
    columns = {f"PCK {name}": metrics.pck(scores.errors, "none", joints).numpy() for name, joints in of.items()}
    columns |= {f"AUC {name}": metrics.auc(scores.errors, "none", joints).numpy() for name, joints in of.items()}
    errors = scores.errors.astype(np.float64)
    columns |= {f"MPJPE {joint}": errors[:, number] for number, joint in enumerate(scores.joints)}
    frames = pd.DataFrame({**columns, "MPJPE Average": errors.mean(axis=1)})
    tables = {
        by: frames.groupby(labels).mean().rename_axis(by)
        for by, labels in _labels(scores).items()
        if by in ("sequence", "activity")
    }
    if "activity" in tables:
        tables["activity"] = tables["activity"].reindex(list(ACTIVITIES))
        tables["activity"].loc["All"] = frames.mean()
    return tables


def _labels(scores: Scores) -> dict[str, pd.Series[str]]:
    """Kind of group -> the name of the group that each scored frame belongs to, "" if it belongs to none."""
    frames = scores.per_frame
    found = {"sequence" if (frames["subject"] == frames["sequence"]).all() else "subject": frames["subject"]}
    if scores.activities is not None:
        found["activity"] = pd.Series(np.array(["", *ACTIVITIES], object)[scores.activities])
    if scores.official:
        found["scene"] = frames["subject"].map(SCENES).fillna("")
    return found
