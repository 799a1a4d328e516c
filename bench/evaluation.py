"""From a trained method to numbers: predict the test set once, keep the predictions, score them.

Accounting `shared`: every valid test frame counts exactly once, the predicted root is set to zero as the target's is,
and test-time noise is keyed by seed and window, so that a score does not depend on batch size, order or device count.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics, paths
from bench.config import Averaging, Benchmark, Protocol, load_benchmark
from bench.data.pose_dataset import PoseDataset
from bench.data.split import testing_part
from bench.data.windows import (
    SEQUENCE,
    START,
    Table,
    answered_part,
    block_rows,
    counted_frames,
    gather,
    mirror,
    scored_windows,
)
from bench.errors import BenchError
from bench.groups import Groups, groups
from bench.method import Method, Window, checked_lift
from bench.progress import Progress
from bench.protocol_3dhp import w2929
from bench.skeleton import MPI_INF_3DHP_17, Skeleton

# Frames in one pass through the network, mirrored ones not counted. It bounds memory; it does not move a score.
FRAMES_PER_PASS = 4096

MM = 1000.0

TARGETS: tuple[Literal["all", "centre", "last"], ...] = ("centre", "all", "last")  # as files of predictions number them


@dataclass(frozen=True)
class Predictions:
    """What a method answered for every window of a test set.

    table: (windows, 4) as `bench.data.windows.scored_windows`. poses_3d: (windows, frames or 1, joints, 3) float32,
    metres, the root as predicted: any accounting can be scored from it.
    """

    window: Window
    table: Table
    poses_3d: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all."""
        targets = TARGETS.index(self.window.targets)
        window = np.array([self.window.frames, targets, self.window.stride, self.window.step])
        with paths.whole_file(path) as unfinished, unfinished.open("wb") as stream:
            np.savez_compressed(stream, window=window, table=self.table, poses_3d=self.poses_3d)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            frames, targets, stride, step = (int(value) for value in stored["window"])
            window = Window(frames, TARGETS[targets], stride, step)
            return cls(window, stored["table"], stored["poses_3d"])

    def per_frame(self, dataset: PoseDataset) -> NDArray[np.float32]:
        """(total frames of the data set, joints, 3): the counted prediction of every frame, NaN where there is none.

        Raises ValueError unless each valid frame is counted exactly once.
        """
        answered = answered_part(self.table, self.window)  # a fraction of the memory that whole windows would take
        rows, counted = block_rows(dataset, *answered), counted_frames(*answered)
        total = len(dataset.poses_3d)
        times = np.bincount(rows[counted], minlength=total)[dataset.counted]
        if (times != 1).any():
            raise ValueError(f"{int((times != 1).sum())} frames are not counted exactly once")
        poses = np.full((total, *self.poses_3d.shape[2:]), np.nan, np.float32)
        poses[rows[counted]] = self.poses_3d[counted]
        return poses


def predict(
    method: Method,
    dataset: PoseDataset,
    *,
    flip: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    label: str = "predict",
    seen: Skeleton | None = None,
) -> Predictions:
    """Lift every video of a data set.

    flip: average each window with the mirrored prediction for its mirror image, both in one pass. seed: of the noise
    of methods that sample. seen: the joints of the 2D, where they are not those of the poses. Raises BenchError if a
    prediction is not a number or has another shape than the window's.
    """
    window = method.window
    table = scored_windows(dataset, window)
    keys = _window_keys(dataset, table) if method.stochastic else []
    joints = len(dataset.skeleton)
    poses = np.empty((len(table), window.frames if window.targets == "all" else 1, joints, 3), np.float32)
    per_pass = max(1, FRAMES_PER_PASS // window.frames)
    method = method.to(device).eval()
    with torch.inference_mode(), Progress(label, len(table) * window.frames) as progress:
        for first in range(0, len(table), per_pass):
            rows = table[first : first + per_pass]
            keypoints_2d = gather(dataset, rows, window).keypoints_2d
            versions = ["plain", "mirrored"] if flip else ["plain"]
            if flip:
                keypoints_2d = torch.cat([keypoints_2d, mirror(keypoints_2d, (seen or dataset.skeleton).mirror)])
            generators = None
            if method.stochastic:
                batch = keys[first : first + per_pass]
                generators = [_generator(f"{seed}/{key}/{version}") for version in versions for key in batch]
            lifted = checked_lift(method, keypoints_2d.to(device), generators).float().cpu()
            if flip:
                plain, mirrored = lifted.chunk(2)
                lifted = (plain + mirror(mirrored, dataset.skeleton.mirror)) / 2
            poses[first : first + len(rows)] = lifted.numpy()
            progress.update(len(rows) * window.frames)
    if not np.isfinite(poses).all():
        raise BenchError(
            f"{method.name}: predicted poses are not finite; its training diverged. Lower the learning rate"
        )
    return Predictions(window, table, poses)


def _window_keys(dataset: PoseDataset, table: Table) -> list[str]:
    """A name for every window that does not depend on which other windows are tested."""
    videos = dataset.sequences[["subject", "sequence", "camera"]].agg("/".join, axis=1).tolist()
    return [f"{videos[sequence]}/{start}" for sequence, start in table[:, [SEQUENCE, START]].tolist()]


def _generator(key: str) -> torch.Generator:
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Scores:
    """Errors of one method on one test set, per valid frame and joint, under the shared accounting.

    sequences: the videos, rows as in PoseDataset. rows: (frames,) where in its blocks each scored frame lies. errors:
    (frames, scored joints) mm, root zeroed. aligned, scaled: (frames,) mm, P-MPJPE and N-MPJPE of each frame. velocity:
    (frames,) mm per frame, the step that leads to each frame; NaN where the frame before belongs to another video or is
    not valid. root_errors: (frames,) mm, how far from zero the root was predicted. averaging: what the headline is a
    mean over, actions or frames. pck, auc: (frames,) percent, for joints of MPI-INF-3DHP only. activities: (frames,)
    what is done in each, by number, where the data set says it.
    """

    sequences: pd.DataFrame
    rows: NDArray[np.int64]
    errors: NDArray[np.float32]
    aligned: NDArray[np.float32]
    scaled: NDArray[np.float32]
    velocity: NDArray[np.float32]
    root_errors: NDArray[np.float32]
    joints: tuple[str, ...]
    averaging: Averaging = "actions"
    pck: NDArray[np.float64] | None = None
    auc: NDArray[np.float64] | None = None
    activities: NDArray[np.uint8] | None = None

    @property
    def units(self) -> dict[str, str]:
        """The metrics that were taken, and the unit of each."""
        return METRICS if self.pck is None else METRICS | MPI_INF_3DHP_METRICS

    @cached_property
    def per_frame(self) -> pd.DataFrame:
        """One row a scored frame: subject, action, sequence, camera, and every metric of that frame."""
        video = np.repeat(np.arange(len(self.sequences)), self.sequences["frames"])[self.rows]
        frames = self.sequences[["subject", "action", "sequence", "camera"]].iloc[video].reset_index(drop=True)
        mpjpe = self.errors.astype(np.float64).mean(axis=1)
        return frames.assign(
            mpjpe=mpjpe,
            p_mpjpe=self.aligned.astype(np.float64),
            n_mpjpe=self.scaled.astype(np.float64),
            mpjve=self.velocity.astype(np.float64),
            mpjpe_raw_root=mpjpe + self.root_errors.astype(np.float64) / self.errors.shape[1],
            **({} if self.pck is None else {"pck": self.pck, "auc": self.auc}),
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """Tidy: metric, action, value, unit, frames.

        `action` is the name of one, "average" (plain mean over the actions) or "all frames".
        """
        rows = []
        for metric, unit in self.units.items():
            column = self.per_frame[metric]
            by_action = column.groupby(self.per_frame["action"], sort=True)
            means, counts = by_action.mean(), by_action.count()
            for action in means.index:
                rows.append((metric, str(action), float(means[action]), unit, int(counts[action])))
            rows.append((metric, "average", float(means.mean()), unit, int(counts.sum())))
            rows.append((metric, "all frames", float(column.mean()), unit, int(counts.sum())))
        return pd.DataFrame(rows, columns=["metric", "action", "value", "unit", "frames"])

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
        """{kind of group: {name: {metric: value, "frames": count}}}, as `bench.groups.groups`."""
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


def score(predictions: Predictions, dataset: PoseDataset, averaging: Averaging = "actions") -> Scores:
    """Score predictions on the valid frames, and the scored joints, of the data set they were made for.

    Human3.6M's protocols 1 and 2, and MPI-INF-3DHP's PCK and AUC where the joints are its own, all of them. averaging:
    what the headline is a mean over.
    """
    counted = dataset.counted
    predicted = torch.from_numpy(predictions.per_frame(dataset)[counted]).double() * MM
    target = dataset.poses_3d[torch.from_numpy(counted)].double() * MM
    root = dataset.skeleton.root
    root_errors = torch.linalg.vector_norm(predicted[:, root], dim=-1)
    predicted[:, root] = 0
    joints = slice(None) if dataset.scored is None else list(dataset.scored)
    predicted, target = predicted[:, joints], target[:, joints]
    errors = metrics.joint_errors(predicted, target).float()  # as kept: what is counted of them later is the same
    official = dataset.skeleton == MPI_INF_3DHP_17 and dataset.scored is None
    return Scores(
        sequences=dataset.sequences,
        rows=counted,
        errors=errors.numpy(),
        aligned=metrics.p_mpjpe(predicted, target, reduce="none").float().numpy(),
        scaled=metrics.n_mpjpe(predicted, target, reduce="none").float().numpy(),
        velocity=_velocity(predicted, target, dataset),
        root_errors=root_errors.float().numpy(),
        joints=tuple(np.array(dataset.skeleton.joints)[joints].tolist()),
        averaging=averaging,
        pck=metrics.pck(errors, reduce="none").numpy() if official else None,
        auc=metrics.auc(errors, reduce="none").numpy() if official else None,
        activities=None if dataset.activities is None else dataset.activities.numpy()[counted],
    )


def _velocity(predicted: Tensor, target: Tensor, dataset: PoseDataset) -> NDArray[np.float32]:
    """The velocity error of the step to each scored frame, NaN where it has no scored frame just before it."""
    rows = dataset.counted
    first = np.isin(rows, dataset.starts) | (np.diff(rows, prepend=-2) > 1)
    runs = np.diff(np.append(np.flatnonzero(first), len(rows)))  # of frames that follow each other
    velocity = np.full(len(rows), np.nan, np.float32)
    velocity[~first] = metrics.mpjve(predicted, target, reduce="none", lengths=runs.tolist()).numpy()
    return velocity


def evaluate(
    method: Method,
    dataset: PoseDataset,
    benchmark: Benchmark | Protocol | str,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Scores:
    """Predict and score the test subjects of a benchmark.

    dataset: the whole data set that is tested on, or its test part. benchmark: one, its protocol, or its name.
    options: as `predict`.
    """
    if isinstance(benchmark, str):
        benchmark = load_benchmark(benchmark)
    protocol = benchmark.protocol if isinstance(benchmark, Benchmark) else benchmark
    testing = testing_part(protocol, dataset)
    options.setdefault("flip", protocol.flip_test)
    return score(predict(method, testing, seed=seed, device=device, **options), testing, protocol.averaging)
