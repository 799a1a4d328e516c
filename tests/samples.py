"""Made-up data for the tests: files in the community's formats, and a small data set that can be learnt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset, offsets
from bench.geometry.camera import denormalise_screen, h36m_cameras
from bench.geometry.skeleton import H36M_17, H36M_17_OF_32, MPI_INF_3DHP_17

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


# Frames of each sequence of MPI-INF-3DHP, and which of the test frames are valid.
MPI_INF_3DHP_FRAMES = {"S1 Seq1": 12, "S1 Seq2": 9, "S2 Seq1": 10, "S8 Seq2": 7}
MPI_INF_3DHP_VALID = {
    "TS1": [0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
    "TS2": [1, 1, 0],
    "TS3": [0, 1, 1, 1, 0],
    "TS4": [1],
    "TS5": [1, 1, 1, 1, 0, 0, 0, 0, 1, 1],
    "TS6": [0, 0, 1, 1],
}
# What is done in each frame: 2, Exercising, and 6, Sports, in no valid one.
MPI_INF_3DHP_ACTIVITIES = {
    "TS1": [1, 2, 1, 2, 2, 6, 3, 3, 3, 3],
    "TS2": [3, 3, 6],
    "TS3": [4, 4, 4, 5, 5],
    "TS4": [5],
    "TS5": [1, 1, 1, 7, 7, 7, 7, 7, 7, 7],
    "TS6": [2, 2, 1, 1],
}


def mpi_inf_3dhp(kind: type[np.floating[Any]] = np.float64) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `data` of the training and the test file: bodies that wander before a pinhole camera, in millimetres."""
    rng = np.random.default_rng(7)

    def view(frames: int, focal: float, centre: tuple[float, float]) -> dict[str, Any]:
        body = rng.normal([0, 0, 4000], [300, 500, 300], (17, 3))
        body[MPI_INF_3DHP_17.root] = body[[8, 11]].mean(axis=0)  # between the hips
        poses = body + rng.normal(0, 20, (frames, 17, 3)).cumsum(axis=0)
        pixels = focal * poses[..., :2] / poses[..., 2:] + centre
        return {"data_2d": pixels.astype(kind), "data_3d": poses.astype(kind)}

    train = {
        name: [{camera: view(frames, 1500, (1017, 1043)) for camera in "01245678"}, 25]
        for name, frames in MPI_INF_3DHP_FRAMES.items()
    }
    test = {
        name: view(len(valid), *((1500, (1017, 1043)) if name < "TS5" else (1684, (940, 560))))
        | {"valid": np.array(valid, np.float64)}
        for name, valid in MPI_INF_3DHP_VALID.items()
    }
    return train, test


def save_3dhp(root: Path, train: Any, test: Any, labels: str = "") -> None:
    """Write the two files exactly as the community's are: dictionaries in 0-d object arrays. labels: `_annot3`."""
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / f"data_train_3dhp{labels}.npz", data=train)
    np.savez_compressed(root / f"data_test_3dhp{labels}.npz", data=test)


def save_3dhp_activities(root: Path, activities: dict[str, Any] = MPI_INF_3DHP_ACTIVITIES) -> None:
    """Write what is done in each test frame: plain arrays, as the data set's files number it."""
    arrays: dict[str, Any] = {name: np.asarray(numbers, np.float64) for name, numbers in activities.items()}
    np.savez_compressed(root / "activity_test_3dhp.npz", **arrays)


# A made-up figure with the names and the tree of CMU's: (parent, direction times length, channels).
CMU_BONES = {
    "lhipjoint": ("root", (1, -2, 0), ""),
    "lfemur": ("lhipjoint", (0, -7, 0), "rx ry rz"),
    "ltibia": ("lfemur", (0, -7, 0), "rx"),
    "rhipjoint": ("root", (-1, -2, 0), ""),
    "rfemur": ("rhipjoint", (0, -7, 0), "rx ry rz"),
    "rtibia": ("rfemur", (0, -7, 0), "rx"),
    "lowerback": ("root", (0, 2, 0), "rx ry rz"),
    "thorax": ("lowerback", (0, 4, 0), "rx ry rz"),
    "lowerneck": ("thorax", (0, 1, 0), "rx ry rz"),
    "upperneck": ("lowerneck", (0, 1.5, 0.5), "rx ry rz"),
    "head": ("upperneck", (0, 1.5, 0), "rx ry rz"),
    "lclavicle": ("thorax", (3, 1, 0), "ry rz"),
    "lhumerus": ("lclavicle", (5, 0, 0), "rx ry rz"),
    "lradius": ("lhumerus", (3, 0, 0), "rx"),
    "lwrist": ("lradius", (2, 0, 0), "ry"),
    "rclavicle": ("thorax", (-3, 1, 0), "ry rz"),
    "rhumerus": ("rclavicle", (-5, 0, 0), "rx ry rz"),
    "rradius": ("rhumerus", (-3, 0, 0), "rx"),
    "rwrist": ("rradius", (-2, 0, 0), "ry"),
}


def asf() -> str:
    lines = [":units", "  length 0.45", "  angle deg", ":root", "  order TX TY TZ RX RY RZ", ":bonedata"]
    for name, (_, offset, channels) in CMU_BONES.items():
        length = float(np.linalg.norm(offset))
        direction = " ".join(str(part / length) for part in offset)
        lines += ["begin", f"name {name}", f"direction {direction}"]
        lines += [f"length {length!r}", "axis 0 0 0 XYZ", *([f"dof {channels}"] if channels else []), "end"]
    lines += [":hierarchy", "begin", *(f"{parent} {name}" for name, (parent, _, _) in CMU_BONES.items()), "end"]
    return "\n".join(lines) + "\n"


def amc(rows: int = 1, step: float = 0.0) -> str:
    """A figure at rest that moves `step` units along z each row."""
    lines = [":FULLY-SPECIFIED", ":DEGREES"]
    for row in range(rows):
        lines += [str(row + 1), f"root 0 17 {row * step} 0 0 0"]
        lines += [f"{name} {' '.join('0' for _ in dof.split())}" for name, (_, _, dof) in CMU_BONES.items() if dof]
    return "\n".join(lines) + "\n"


# Subject, action, sequence, camera, frames: videos shorter and longer than a window of 9, and one of its length.
VIDEOS = (
    ("S1", "sit", "sit 1", "a", 40),
    ("S1", "sit", "sit 1", "b", 40),
    ("S1", "walk", "walk 1", "a", 25),
    ("S2", "sit", "sit 1", "a", 30),
    ("S2", "walk", "walk 2", "a", 5),
    ("S3", "sit", "sit 1", "a", 23),
    ("S3", "walk", "walk 1", "a", 9),
    ("S3", "walk", "walk 2", "a", 5),
)


def toy_dataset(videos: Iterable[tuple[str, str, str, str, int]] = VIDEOS) -> PoseDataset:
    """People of one shape who swing their joints, seen from 4 m: the 2D tells most of the 3D."""
    body = np.random.default_rng(1).normal(0, 0.3, (17, 3))
    rows = list(videos)
    lengths = [frames for *_, frames in rows]
    poses, roots = [], []
    for *name, frames in rows:
        rng = np.random.default_rng(list("/".join(map(str, name)).encode()))
        phase, swing = rng.uniform(0, 6, (17, 3)), rng.normal(0, 0.1, (17, 3))
        pose = body + swing * np.sin(phase + 0.3 * np.arange(frames)[:, None, None])
        poses.append(pose - pose[:, :1])
        roots.append(np.tile([0, 0, 4.0], (frames, 1)))
    poses_3d, root = np.concatenate(poses), np.concatenate(roots)
    absolute = poses_3d + root[:, None]
    table = [(*row[:4], int(start), row[4]) for row, start in zip(rows, offsets(lengths), strict=True)]
    return PoseDataset(
        name="toy",
        keypoints="gt",
        fps=50.0,
        skeleton=H36M_17,
        sequences=pd.DataFrame(table, columns=list(SEQUENCE_COLUMNS)),
        keypoints_2d=torch.from_numpy(absolute[..., :2] / absolute[..., 2:]).float(),
        poses_3d=torch.from_numpy(poses_3d).float(),
        roots=torch.from_numpy(root).float(),
        fingerprint="f" * 64,
    )


def upstream_state(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The published weights in a golden file."""
    return {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}


def axes_last(array: np.ndarray) -> torch.Tensor:
    """P-STMO's layout (batch, axes, frames, joints, 1) to ours, (batch, frames, joints, axes)."""
    return torch.from_numpy(array[..., 0]).movedim(1, -1)


# A benchmark on the data set of `toy_dataset`, to be written as YAML.
TOYS: dict[str, Any] = {
    "title": "Toys",
    "protocol": {
        "dataset": "toy",
        "keypoints": "gt",
        "frames": 9,
        "train_subjects": ["S1", "S2"],
        "test_subjects": ["S3"],
    },
    "methods": {
        "mean_pose": {},
        "videopose3d": {"model": {"dim": 8}, "recipe": {"epochs": 2, "batch_windows": 16, "learning_rate": 1e-3}},
    },
}
