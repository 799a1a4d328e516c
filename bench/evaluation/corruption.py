"""Corrupted 2D keypoints: noise, and missing joints.

As in published code (Zhou et al., ICCV Workshops 2023), with three differences. The noise is determined by the seed,
the video and the setting alone, so it is the same for every method and does not depend on batches. A frame has the same
noise in every window that shows it. And the mirrored input is the mirror image of the noisy one; published code draws
new noise for it, so that averaging the two predictions removes noise that a real image shares with its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.data.mocap.studio import generator
from bench.data.pose_dataset import PoseDataset


def with_noise(dataset: PoseDataset, half_widths: float, seed: int = 0) -> PoseDataset:
    """The same videos with Gaussian noise on every coordinate of the 2D keypoints.

    half_widths: its standard deviation in the unit of the keypoints, half the width of the image.
    """
    keypoints_2d = dataset.keypoints_2d.clone()
    for rows, random in _videos(dataset, f"noise of {half_widths!r}", seed):
        video = keypoints_2d[rows].numpy()
        video += np.float32(half_widths) * random.standard_normal(video.shape, np.float32)
    return replace(dataset, keypoints_2d=keypoints_2d)


def with_dropped_joints(dataset: PoseDataset, probability: float, seed: int = 0) -> PoseDataset:
    """The same videos, but each joint of each frame, the root too, is missing with this probability.

    A missing joint lies at (0, 0), the middle of the image, as in published code.
    """
    keypoints_2d = dataset.keypoints_2d.clone()
    for rows, random in _videos(dataset, f"joints dropped by {probability!r}", seed):
        video = keypoints_2d[rows].numpy()
        video[random.random(video.shape[:2]) < probability] = 0
    return replace(dataset, keypoints_2d=keypoints_2d)


def _videos(dataset: PoseDataset, setting: str, seed: int) -> Iterator[tuple[slice, np.random.Generator]]:
    """The rows of each video, and the generator of its noise."""
    columns = dataset.sequences[["subject", "sequence", "camera", "start", "frames"]]
    for subject, sequence, camera, start, frames in columns.itertuples(index=False):
        yield slice(start, start + frames), generator(seed, setting, subject, sequence, camera)
