"""The predictions of a method for a test set: every window is lifted once, and the result is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.accounting import SHARED, Accounting
from bench.data.batch import Window
from bench.data.pose_dataset import PoseDataset
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
from bench.geometry.skeleton import Skeleton
from bench.method.base import Method, checked_lift, generator_of
from bench.system import paths
from bench.system.device import float32_products
from bench.system.errors import BenchError
from bench.system.progress import Progress

# Frames in one pass through the network, mirrored ones not counted. It bounds memory and does not change a score.
FRAMES_PER_PASS = 4096

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

    flip: average each window with the mirrored prediction for its mirror image, both in one pass. seed: of the noise
    of methods that sample. device: where to compute, in float32; afterwards the method is back on its device and in its
    mode. seen: the skeleton of the 2D, if it is not that of the poses. hypothesis: number of the sample, for methods
    that sample. accounting: states how videos shorter than a window are padded. Raises BenchError if a prediction is
    not finite or has another shape than the window's.
    """
    window = method.window
    table = scored_windows(dataset, window, accounting)
    keys = window_keys(dataset, table) if method.stochastic else []
    joints = len(dataset.skeleton)
    poses = np.empty((len(table), window.answers, joints, 3), np.float32)
    per_pass = max(1, FRAMES_PER_PASS // window.frames)
    draw = f"{seed}.{hypothesis}" if hypothesis else f"{seed}"
    with (
        _lifting(method, device),
        float32_products(),
        torch.inference_mode(),
        Progress(label, len(table) * window.frames) as progress,
    ):
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
