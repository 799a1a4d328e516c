"""Windows: a table of which frames each window reads and counts, and the one gather that turns rows into tensors.

Rules: VideoPose3D (Pavllo et al., CVPR 2019) and its descendants pad by repeating the first or last frame. Here that
is index clamping: input frame i of a window is frame clamp(start + i * step, 0, length - 1) of its video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.accounting import SHARED, Accounting, preset_named
from bench.data.batch import Batch, Window
from bench.data.pose_dataset import PoseDataset, offsets

Table = NDArray[np.int64]
Numbers = NDArray[np.int64]  # one per window, or one per video
Lengths = Sequence[int] | NDArray[np.int64]

SEQUENCE, START, COUNT_FROM, COUNT_TO = range(4)


def test_windows(lengths: Lengths, window: Window, accounting: Accounting | str = SHARED) -> Table:
    """Windows that score videos of these lengths. Returns (windows, 4): sequence, start, count_from, count_to.

    With targets "centre" or "last", one window per frame. With "all" the windows follow each other, and the last one
    ends with the video; a video shorter than the window is padded, on the side that the accounting says. Under `SHARED`
    every frame of every video is counted exactly once: the last window counts only what its predecessor has not, and
    padding does not count. accounting: one, or the name of a preset (`bench.config.PRESETS`).
    """
    if isinstance(accounting, str):
        accounting = preset_named(accounting).accounting
    if window.targets != "all":
        return _every_frame(lengths, window, every=1)
    frames, length = window.frames, np.asarray(lengths, np.int64)
    sequence, index = _numbered(_windows_to_cover(length, frames, hop=frames))
    length = length[sequence]
    shortest = length - frames if accounting.short == "left" else np.maximum(length - frames, 0)
    start = np.minimum(index * frames, shortest)
    once = _table(sequence, start, index * frames, np.minimum(start + frames, length))
    return recounted(once, lengths, window, accounting)


def recounted(table: Table, lengths: Lengths, window: Window, accounting: Accounting) -> Table:
    """Change windows that count every frame once to count as an accounting does: the one place of this rule.

    tail "twice": every real frame of every window. padding "counted": where a video is padded, the padding too.
    Windows that answer for one frame count that one, whatever the accounting.
    """
    if window.targets != "all":
        return table
    sequence, start, count_from, count_to = table.T
    end, length = start + window.frames, np.asarray(lengths, np.int64)[sequence]
    if accounting.tail == "twice":
        count_from, count_to = np.maximum(start, 0), np.minimum(end, length)
    if accounting.padding == "counted":
        count_from, count_to = np.where(start < 0, start, count_from), np.where(end > length, end, count_to)
    return _table(sequence, start, count_from, count_to)


def scored_windows(dataset: PoseDataset, window: Window, accounting: Accounting = SHARED) -> Table:
    """The windows to predict: laid out as an accounting requires, each frame counted once.

    Windows that count no valid frame are left out. `recounted` adds what else the accounting counts.
    """
    table = test_windows(dataset.lengths, window, replace(SHARED, short=accounting.short))
    if dataset.valid is None:
        return table
    counted = counted_frames(table, window) & dataset.valid.numpy()[block_rows(dataset, table, window)]
    scored: Table = table[counted.any(axis=1)]
    return scored


test_windows.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def train_windows(lengths: Lengths, window: Window, layout: Literal["tail", "centred"] = "tail") -> Table:
    """Windows to train on. Returns (windows, 4): sequence, start, count_from, count_to (supervised).

    tail: windows every `window.stride` frames, the last one shifted back so that it ends with the video (Zhou et al.,
    ICCVW 2023); only real frames are supervised. centred: windows laid over the middle of the video, both ends padded
    and the padding supervised (Zhang et al., CVPR 2022). With targets "centre" or "last", one window every `stride`
    frames.
    """
    if window.targets != "all":
        return _every_frame(lengths, window, every=window.stride)
    frames, length = window.frames, np.asarray(lengths, np.int64)
    if layout == "centred":
        count = -(-length // frames)
        sequence, index = _numbered(count)
        start = index * frames - ((count * frames - length) // 2)[sequence]
        return _table(sequence, start, start, start + frames)
    if layout == "tail":
        sequence, index = _numbered(_windows_to_cover(length, frames, window.stride))
        start = np.minimum(index * window.stride, np.maximum(length - frames, 0)[sequence])
        return _table(sequence, start, start, np.minimum(start + frames, length[sequence]))
    raise ValueError(f"layout must be 'tail' or 'centred', not {layout!r}")


def _windows_to_cover(length: Numbers, frames: int, hop: int) -> Numbers:
    """The number of windows, one every `hop` frames, that cover each video; the last is shifted back to fit."""
    return -(-np.maximum(length - frames, 0) // hop) + 1


def _every_frame(lengths: Lengths, window: Window, every: int) -> Table:
    """One window for every `every`-th frame, which alone is counted: the window's centre, or its last frame."""
    reach = window.answered.start * window.step
    sequence, index = _numbered(-(-np.asarray(lengths, np.int64) // every))
    frame = index * every
    return _table(sequence, frame - reach, frame, frame + 1)


def _numbered(count: Numbers) -> tuple[Numbers, Numbers]:
    """For videos with `count` windows each: the video of each window, and its number within the video."""
    sequence = np.repeat(np.arange(len(count)), count)
    return sequence, np.arange(len(sequence)) - offsets(count)[sequence]


def _table(*columns: Numbers) -> Table:
    return np.stack(columns, axis=1)


def frame_indices(table: Table, lengths: Lengths, window: Window) -> Table:
    """The frame of its video that each input frame shows, edges repeated. Returns (windows, frames)."""
    frames = table[:, START, None] + np.arange(window.frames) * window.step
    last = np.asarray(lengths, np.int64)[table[:, SEQUENCE], None] - 1
    return np.asarray(np.clip(frames, 0, last))


def counted_frames(table: Table, window: Window) -> NDArray[np.bool_]:
    """Which input frames of each window lie in its counted range. Returns (windows, frames)."""
    frames = table[:, START, None] + np.arange(window.frames) * window.step
    return (frames >= table[:, COUNT_FROM, None]) & (frames < table[:, COUNT_TO, None])


def answered_part(table: Table, window: Window) -> tuple[Table, Window]:
    """The same windows without context: only the frames that are answered for, one or all."""
    if window.targets == "all":
        return table, window
    return table + np.eye(4, dtype=np.int64)[START] * window.answered.start * window.step, Window(1)


def block_rows(dataset: PoseDataset, table: Table, window: Window) -> Table:
    """The row of the data set's blocks that each input frame shows. Returns (windows, frames)."""
    return frame_indices(table, dataset.lengths, window) + dataset.starts[table[:, SEQUENCE], None]


def gather(dataset: PoseDataset, table: Table, window: Window, flipped: NDArray[np.bool_] | None = None) -> Batch:
    """Read windows out of a data set. Rows where `flipped` is true come mirrored: x negated, left and right swapped.

    Returns keypoints_2d (batch, frames, joints, 2), poses_3d (batch, frames, joints, 3), supervised (batch, frames).
    """
    rows = torch.from_numpy(block_rows(dataset, table, window))
    keypoints_2d, poses_3d = taken(dataset.keypoints_2d, rows), taken(dataset.poses_3d, rows)
    for row in [] if flipped is None else np.flatnonzero(flipped):  # one by one: a window fits into a cache
        keypoints_2d[row] = mirror(keypoints_2d[row], dataset.skeleton.mirror)
        poses_3d[row] = mirror(poses_3d[row], dataset.skeleton.mirror)
    return Batch(keypoints_2d, poses_3d, torch.from_numpy(counted_frames(table, window)))


def taken(block: Tensor, rows: Tensor) -> Tensor:
    """Rows of a block, all within it. block: (total, joints, axes). rows: (batch, frames), on the same device.

    Returns (batch, frames, joints, axes), a copy.
    """
    if block.device.type == "cpu":  # NumPy copies whole rows; it need not check numbers that it clips
        cut: Tensor = torch.from_numpy(np.take(block.numpy(), rows.numpy(), axis=0, mode="clip"))
        return cut
    return block.index_select(0, rows.flatten()).reshape(*rows.shape, *block.shape[1:])


def gather_2d(dataset: PoseDataset, table: Table, window: Window) -> Tensor:
    """The keypoints of windows alone, (batch, frames, joints, 2): targets are never read."""
    return taken(dataset.keypoints_2d, torch.from_numpy(block_rows(dataset, table, window)))


def mirror(poses: Tensor, permutation: Sequence[int]) -> Tensor:
    """The mirror image: left and right joints swapped, x negated. (..., joints, 2 or 3) to the same shape."""
    if poses.device.type == "cpu":  # NumPy copies rows of two or three numbers twenty times as fast as torch
        swapped = torch.from_numpy(np.take(poses.numpy(), list(permutation), axis=-2))
    else:
        swapped = poses[..., list(permutation), :]
    swapped[..., 0].neg_()
    return swapped
