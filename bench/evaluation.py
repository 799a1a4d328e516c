"""From a trained method to numbers: predict the test set once, keep the predictions, score them.

Accounting `shared`: every valid test frame counts exactly once, and the predicted root is zero as the target's is.
Test-time noise is keyed by seed and window, so that a score does not depend on batch size, order or device count.
Predictions are kept whole, so that any other accounting can be scored from them: it is a choice of the predicted frames
that count, in which order and for which action, a rule for the root, and a rule for metrics that are no frame's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics, paths
from bench.accounting import SHARED, Accounting, accounting_of
from bench.config import Averaging, Benchmark, Protocol, load_benchmark
from bench.data.pose_dataset import PoseDataset, offsets
from bench.data.split import testing_part
from bench.data.windows import (
    COUNT_FROM,
    SEQUENCE,
    START,
    Table,
    answered_part,
    block_rows,
    counted_frames,
    gather,
    mirror,
    scored_windows,
    test_windows,
)
from bench.errors import BenchError
from bench.groups import Groups, groups
from bench.method import Method, Window, checked_lift
from bench.progress import Progress
from bench.protocol_3dhp import README_WEIGHTS, w2929
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
        _check_once(rows[counted], dataset)
        poses = np.full((len(dataset.poses_3d), *self.poses_3d.shape[2:]), np.nan, np.float32)
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
    hypothesis: int = 0,
) -> Predictions:
    """Lift every video of a data set.

    flip: average each window with the mirrored prediction for its mirror image, both in one pass. seed: of the noise
    of methods that sample. seen: the joints of the 2D, where they are not those of the poses. hypothesis: which of the
    samples that such a method may draw. Raises BenchError if a prediction is not a number or has another shape than the
    window's.
    """
    window = method.window
    table = scored_windows(dataset, window)
    keys = window_keys(dataset, table) if method.stochastic else []
    joints = len(dataset.skeleton)
    poses = np.empty((len(table), window.frames if window.targets == "all" else 1, joints, 3), np.float32)
    per_pass = max(1, FRAMES_PER_PASS // window.frames)
    draw = f"{seed}.{hypothesis}" if hypothesis else f"{seed}"
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
                generators = [generator_of(f"{draw}/{key}/{version}") for version in versions for key in batch]
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


def window_keys(dataset: PoseDataset, table: Table) -> list[str]:
    """A name for every window that does not depend on which other windows are tested."""
    videos = dataset.sequences[["subject", "sequence", "camera"]].agg("/".join, axis=1).tolist()
    return [f"{videos[sequence]}/{start}" for sequence, start in table[:, [SEQUENCE, START]].tolist()]


def generator_of(key: str) -> torch.Generator:
    """The noise of one window, by seed, window and version: `0/S9/Walking/54138969/27/plain`."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


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


def _check_once(rows: NDArray[np.int64], dataset: PoseDataset) -> None:
    """Raises ValueError unless each valid frame is among these rows exactly once."""
    times = np.bincount(rows, minlength=len(dataset.poses_3d))[dataset.counted]
    if (times != 1).any():
        raise ValueError(f"{int((times != 1).sum())} frames are not counted exactly once")


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
    hop = predictions.window.frames if predictions.window.targets == "all" else 1
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
