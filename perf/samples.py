"""What is measured: methods with fixed weights, and data sets of random poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import bench
from bench import Method
from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset
from bench.geometry.skeleton import H36M_17

ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Waiting", "WalkDog", "WalkTogether", "Walking",
)  # fmt: skip


def built(name: str, frames: int, **sizes: int) -> Method:
    """A method in evaluation mode, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return bench.build(name, frames=frames, **sizes).eval()


def one_video(frames: int) -> PoseDataset:
    """A single video of random poses."""
    return equal_videos(1, frames)


def equal_videos(count: int, frames: int) -> PoseDataset:
    """Videos of one length and random poses."""
    source = torch.Generator().manual_seed(5)
    poses_3d = torch.randn(count * frames, 17, 3, generator=source) * 0.3
    poses_3d[:, 0] = 0
    rows = [("S9", "Walking", f"Walking {video}", "1", video * frames, frames) for video in range(count)]
    return _dataset(pd.DataFrame(rows, columns=list(SEQUENCE_COLUMNS)), _seen(poses_3d), poses_3d)


def _seen(poses_3d: Tensor) -> Tensor:
    """2D of a person four metres away."""
    return poses_3d[..., :2] / (poses_3d[..., 2:] + 4)


def _dataset(sequences: pd.DataFrame, keypoints_2d: Tensor, poses_3d: Tensor) -> PoseDataset:
    roots = torch.zeros(len(poses_3d), 3)
    return PoseDataset("made-up", "gt", 50.0, H36M_17, sequences, keypoints_2d, poses_3d, roots, fingerprint="made up")


def save_test_set(path: Path, scale: float, seed: int = 7) -> None:
    """Write a test set of Human3.6M's shape: S9 and S11, 15 actions, 4 cameras, random poses.

    A video has 1,000 to 3,600 frames (about 2,300 as there), times `scale`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for subject in ("S9", "S11"):
        for action in ACTIONS:
            frames = int(scale * rng.integers(1000, 3601))
            rows += [(subject, action, action, str(camera), frames) for camera in range(4)]
    total = sum(row[-1] for row in rows)
    poses_3d = rng.normal(0, 0.3, (total, 17, 3)).astype(np.float32)
    poses_3d[:, 0] = 0
    keypoints_2d = _seen(torch.from_numpy(poses_3d)).numpy()
    np.savez(path, sequences=np.array(rows), keypoints_2d=keypoints_2d, poses_3d=poses_3d)


def read_test_set(path: Path) -> PoseDataset:
    """What `save_test_set` wrote."""
    with np.load(path) as stored:
        rows = pd.DataFrame(stored["sequences"], columns=["subject", "action", "sequence", "camera", "frames"])
        keypoints_2d, poses_3d = (torch.from_numpy(stored[block]) for block in ("keypoints_2d", "poses_3d"))
    frames = rows["frames"].astype(int)
    return _dataset(rows.assign(frames=frames, start=frames.cumsum() - frames), keypoints_2d, poses_3d)
