"""What the tests of data sets share: made-up files in the community's formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.camera import denormalise_screen, h36m_cameras
from bench.skeleton import H36M_17, H36M_17_OF_32

# Sequences of each subject and their frames. "Sitting" is a prefix of "SittingDown", and numbers differ by subject.
H36M_FRAMES = {
    "S1": {"Sitting 1": 12, "SittingDown 2": 9},
    "S5": {"Walking": 10},
    "S6": {"Photo 1": 8},
    "S7": {"Walking 2": 8},
    "S8": {"WalkTogether 2": 7},
    "S9": {"Sitting": 11, "SittingDown 1": 6},
    "S11": {"Phoning 3": 9},
}


def h36m_positions(frames: dict[str, dict[str, int]] = H36M_FRAMES) -> tuple[dict[str, Any], dict[str, Any]]:
    """positions_3d and the exact positions_2d: 32 joints that wander through the studio, random bodies."""
    rng = np.random.default_rng(5)
    world: dict[str, Any] = {}
    pixels: dict[str, Any] = {}
    for subject, sequences in frames.items():
        world[subject], pixels[subject] = {}, {}
        for sequence, length in sequences.items():
            body = rng.normal([0, 0, 1], [0.3, 0.3, 0.5], (32, 3))
            path = rng.normal(0, 0.02, (length, 1, 3)).cumsum(axis=0)
            poses = (body + path).astype(np.float32)
            world[subject][sequence] = poses
            pixels[subject][sequence] = [
                denormalise_screen(
                    camera.project(camera.to_camera(poses[:, H36M_17_OF_32])), camera.width, camera.height
                )
                for camera in h36m_cameras()[subject]
            ]
    return world, pixels


def save_h36m(root: Path, positions_3d: Any, positions_2d: Any, keypoints: str = "gt", **metadata: Any) -> None:
    """Write the two files exactly as the community's are: dictionaries in 0-d object arrays."""
    root.mkdir(parents=True, exist_ok=True)
    symmetry = [list(H36M_17.left), list(H36M_17.right)]
    about = {"num_joints": 17, "keypoints_symmetry": symmetry} | metadata
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=positions_3d)
    np.savez_compressed(root / f"data_2d_h36m_{keypoints}.npz", positions_2d=positions_2d, metadata=about)


@pytest.fixture
def h36m_root(tmp_path) -> Path:
    """A data folder with Human3.6M files: `gt`, and `cpn` with noise, surplus frames and a subject without 3D."""
    world, pixels = h36m_positions()
    save_h36m(tmp_path / "h36m", world, pixels, "gt", keypoints_symmetry=[np.array(H36M_17.left), H36M_17.right])
    rng = np.random.default_rng(6)
    noisy = {
        subject: {
            sequence: [(view + rng.normal(0, 5, view.shape)).astype(np.float32) for view in views]
            for sequence, views in sequences.items()
        }
        for subject, sequences in pixels.items()
    }
    noisy["S2"] = {"Sitting 1": [np.zeros((4, 17, 2), np.float32)] * 4}
    surplus = np.full((3, 17, 2), np.nan, np.float32)  # beyond the 3D, so nobody may look at it
    noisy["S9"]["Sitting"] = [np.concatenate([view, surplus]) for view in noisy["S9"]["Sitting"]]
    noisy["S11"]["Phoning 3"][2] = np.concatenate([noisy["S11"]["Phoning 3"][2], surplus])
    save_h36m(tmp_path / "h36m", world, noisy, "cpn_ft_h36m_dbb", layout_name="h36m")
    return tmp_path


@pytest.fixture
def h36m_files(tmp_path) -> Callable[..., Path]:
    """Writes Human3.6M files after `change(positions_3d, positions_2d)` has spoilt them; returns the data folder."""

    def write(change: Callable[[Any, Any], None], **metadata: Any) -> Path:
        world, pixels = h36m_positions({"S1": {"Sitting 1": 6, "Walking": 5}, "S9": {"Photo": 4}})
        change(world, pixels)
        save_h36m(tmp_path, world, pixels, **metadata)
        return tmp_path

    return write
