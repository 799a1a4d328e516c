"""The predictions of a method for a test set: every frame is lifted once, and the result is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.accounting import SHARED, Accounting
from bench.data.batch import Window
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import (
    COUNT_FROM,
    SEQUENCE,
    START,
    Table,
    answered_part,
    block_rows,
    counted_frames,
    gather_2d,
    mirror,
    scored_windows,
)
from bench.geometry.skeleton import Skeleton
from bench.method.base import Method, checked_lift, checked_lift_video, generator_of, lifts_videos
from bench.method.passes import frames_per_pass, windows_per_pass
from bench.system import paths
from bench.system.device import float32_products
from bench.system.errors import BenchError
from bench.system.progress import Progress

TARGETS: tuple[Literal["all", "centre", "last"], ...] = ("centre", "all", "last")  # as files of predictions number them


@dataclass(frozen=True)
class Predictions:
    """What a method predicted for every window of a test set.

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
    accounting: Accounting = SHARED,
) -> Predictions:
    """Lift every video of a data set.

    A method that offers `lift_video` is given whole videos, any other one windows; 3D poses are never read.
    flip: average each window with the mirrored prediction for its mirror image, both in one pass. seed: of the noise
    of methods that sample. device: where to compute, in float32; afterwards the method is back on its device and in its
    mode. seen: the skeleton of the 2D, if it is not that of the poses. hypothesis: number of the sample, for methods
    that sample. accounting: states how videos shorter than a window are padded. Raises BenchError if a prediction is
    not finite or has another shape than the window's.
    """
    window = method.window
    table = scored_windows(dataset, window, accounting)
    poses = np.empty((len(table), window.answers, len(dataset.skeleton), 3), np.float32)
    draw = f"{seed}.{hypothesis}" if hypothesis else f"{seed}"
    work = _Work(method, dataset, table, flip, torch.device(device), seen or dataset.skeleton, draw)
    with (
        _lifting(method, device),
        float32_products(),
        torch.inference_mode(),
        Progress(label, len(table) * window.frames) as progress,
    ):
        for rows, lifted in (_by_video if lifts_videos(method) else _by_window)(work, progress):
            poses[rows] = lifted.numpy()
    if not np.isfinite(poses).all():
        raise BenchError(
            f"{method.name}: predicted poses are not finite; its training diverged. Lower the learning rate"
        )
    return Predictions(window, table, poses)


@dataclass(frozen=True)
class _Work:
    """What `predict` does to each part of a data set. draw: what the noise of all windows is keyed by."""

    method: Method
    dataset: PoseDataset
    table: Table
    flip: bool
    device: torch.device
    seen: Skeleton
    draw: str

    @property
    def versions(self) -> list[str]:
        return ["plain", "mirrored"] if self.flip else ["plain"]

    def given(self, keypoints_2d: Tensor) -> Tensor:
        """What goes through the network: (rows, frames, joints, 2), followed by the mirror images of all rows."""
        if self.flip:
            keypoints_2d = torch.cat([keypoints_2d, mirror(keypoints_2d, self.seen.mirror)])
        return keypoints_2d.to(self.device)

    def answer(self, lifted: Tensor) -> Tensor:
        """The poses of the rows, averaged with those of their mirror images."""
        lifted = lifted.float().cpu()
        if not self.flip:
            return lifted
        plain, mirrored = lifted.chunk(2)
        return (plain + mirror(mirrored, self.dataset.skeleton.mirror)) / 2


def _by_window(work: _Work, progress: Progress) -> Iterator[tuple[slice, Tensor]]:
    """Which rows of the table have been lifted, and their poses: (rows, frames or 1, joints, 3)."""
    method, dataset, table, window = work.method, work.dataset, work.table, work.method.window
    keys = window_keys(dataset, table) if method.stochastic else []
    per_pass = windows_per_pass(window, len(work.seen), work.device, len(work.versions))
    for first in range(0, len(table), per_pass):
        rows = slice(first, min(first + per_pass, len(table)))
        generators = None
        if method.stochastic:
            generators = [
                generator_of(f"{work.draw}/{key}/{version}") for version in work.versions for key in keys[rows]
            ]
        given = work.given(gather_2d(dataset, table[rows], window))
        yield rows, work.answer(checked_lift(method, given, generators))
        progress.update((rows.stop - rows.start) * window.frames)


def _by_video(work: _Work, progress: Progress) -> Iterator[tuple[slice, Tensor]]:
    """The same from whole videos, the long ones in parts."""
    for rows in _parts(work.table, frames_per_pass(len(work.seen), len(work.versions))):
        yield rows, _lift_part(work, work.table[rows], progress)


def _parts(table: Table, frames: int) -> list[slice]:
    """The table cut where a video ends, and after every `frames` frames of it."""
    video, part = table[:, SEQUENCE], table[:, COUNT_FROM] // frames
    cuts = np.flatnonzero((np.diff(video) != 0) | (np.diff(part) != 0)) + 1
    borders = [0, *cuts.tolist(), len(table)]
    return [slice(first, end) for first, end in itertools.pairwise(borders) if end > first]


def _lift_part(work: _Work, table: Table, progress: Progress) -> Tensor:
    """Lift windows of one video from its frames and those on both sides that the windows reach."""
    window, video, answered = work.method.window, table[0, SEQUENCE], table[:, COUNT_FROM]
    before, after = window.answered.start * window.step, (window.frames - window.answered.stop) * window.step
    read = np.arange(
        max(answered[0] - before, 0), min(answered[-1] + after + 1, work.dataset.lengths[video]), dtype=np.int64
    )
    given = work.given(work.dataset.keypoints_2d[torch.from_numpy(work.dataset.starts[video] + read)][None])
    left = len(table) * window.frames

    def report(frames: int) -> None:
        nonlocal left
        lifted = min(frames * window.frames, left)
        left -= lifted
        progress.update(lifted)

    lifted = work.answer(checked_lift_video(work.method, given, report))[0]
    progress.update(left)
    return lifted[torch.from_numpy(answered - read[0])][:, None]


def window_keys(dataset: PoseDataset, table: Table) -> list[str]:
    """A name for every window, independent of which other windows are tested."""
    videos = dataset.sequences[["subject", "sequence", "camera"]].agg("/".join, axis=1).tolist()
    return [f"{videos[sequence]}/{start}" for sequence, start in table[:, [SEQUENCE, START]].tolist()]


@contextmanager
def _lifting(method: Method, device: torch.device | str) -> Iterator[None]:
    """Context with the method on a device and in evaluation mode; afterwards device and mode are restored."""
    modes = {module: module.training for module in method.modules()}
    home = next((tensor.device for tensor in (*method.parameters(), *method.buffers())), None)
    try:
        method.to(device).eval()
        yield
    finally:
        if home is not None:
            method.to(home)
        for module, training in modes.items():
            module.training = training


def _check_once(rows: NDArray[np.int64], dataset: PoseDataset) -> None:
    """Raises ValueError unless each valid frame is among these rows exactly once."""
    times = np.bincount(rows, minlength=len(dataset.poses_3d))[dataset.counted]
    if (times != 1).any():
        raise ValueError(f"{int((times != 1).sum())} frames are not counted exactly once")
