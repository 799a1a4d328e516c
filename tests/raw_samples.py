"""Made-up raw downloads for the tests, in the layouts of Human3.6M and MPI-INF-3DHP."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cdflib.cdfwrite
import h5py
import numpy as np
from scipy.io import savemat

from bench.data.known import H36M_RECORDED

H36M_NAMES = [f"{subject} {name}" for subject, names in H36M_RECORDED.items() for name in names]  # a test checks them


def h36m_millimetres(name: str, frames: int = 3) -> np.ndarray:
    """(frames, 32, 3): somebody who stands about where Human3.6M's people do."""
    rng = np.random.default_rng(list(name.encode()))
    return rng.normal([0, 0, 1000], [300, 300, 500], (frames, 32, 3)).astype(np.float32)


def write_cdf(path: Path, poses: np.ndarray, variable: str = "Pose", compress: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = poses.reshape(1, len(poses), -1)
    with cdflib.cdfwrite.CDF(path, delete=True) as file:
        about = {"Variable": variable, "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Compress": compress}
        file.write_var(about | {"Dim_Sizes": list(rows.shape[1:])}, var_data=rows)


def write_mat(path: Path, poses: np.ndarray, variable: str = "data") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = np.empty((1, 1), object)
    cell[0, 0] = poses.reshape(len(poses), -1)
    savemat(path, {variable: cell}, appendmat=False)


def write_h5(path: Path, poses: np.ndarray, variable: str = "3D_positions") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[variable] = poses.transpose(1, 2, 0).reshape(-1, len(poses))


WRITERS = {
    ".cdf": (write_cdf, "MyPoseFeatures/D3_Positions"),
    ".cdf.mat": (write_mat, "MyPoseFeatures/D3_Positions"),
    ".h5": (write_h5, "MyPoses/3D_positions"),
}


def raw_h36m_path(root: Path, name: str, kind: str) -> Path:
    subject, _, sequence = name.partition(" ")
    if subject == "S1" and kind != ".h5":
        sequence = sequence.replace("Photo", "TakingPhoto").replace("WalkDog", "WalkingDog")
    return root / subject / WRITERS[kind][1] / f"{sequence}{kind}"


def raw_h36m(root: Path, kind: str, names: Iterable[str] = H36M_NAMES) -> Path:
    """The raw files of `names`, called as in the release: S1 has names of its own for two actions."""
    for name in names:
        WRITERS[kind][0](raw_h36m_path(root, name, kind), h36m_millimetres(name))
    return root


# The 28 joints of annot.mat, in their order.
MPI_INF_3DHP_28 = (
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head top", "left clavicle", "left shoulder",
    "left elbow", "left wrist", "left hand", "right clavicle", "right shoulder", "right elbow", "right wrist",
    "right hand", "left hip", "left knee", "left ankle", "left foot", "left toe", "right hip", "right knee",
    "right ankle", "right foot", "right toe",
)  # fmt: skip


def coded(kind: int, frames: int, joints: int, axes: int) -> np.ndarray:
    """(frames, joints, axes) numbers that say where they stand: kind, frame (of less than 12), joint, axis."""
    frame, joint, axis = np.ogrid[:frames, :joints, :axes]
    return 1000.0 * kind + 84 * frame + 3 * joint + axis


def annot(frames: int, **changed: object) -> dict[str, object]:
    """The content of an annot.mat: kind 0 + camera in annot2, 15 + camera in annot3, 30 + camera in univ_annot3."""
    content: dict[str, object] = {"cameras": np.arange(14), "frames": np.arange(frames)[:, None]}
    for variable, first, axes in (("annot2", 0, 2), ("annot3", 15, 3), ("univ_annot3", 30, 3)):
        cells = np.empty((14, 1), object)
        for camera in range(14):
            cells[camera, 0] = coded(first + camera, frames, 28, axes).reshape(frames, -1).astype(np.float32)
        content[variable] = cells
    return {name: value for name, value in (content | changed).items() if value is not None}


def annot_data(frames: int, **changed: object) -> dict[str, object]:
    """The content of an annot_data.mat as HDF5 has it: MATLAB's axes reversed, float64."""
    content: dict[str, object] = {
        "annot2": coded(1, frames, 17, 2)[:, None],
        "annot3": coded(2, frames, 17, 3)[:, None],
        "univ_annot3": coded(3, frames, 17, 3)[:, None],
        "valid_frame": (np.arange(frames) % 2 == 0).astype(float)[:, None],
        "activity_annotation": (np.arange(frames) % 7 + 1.0)[:, None],
        "bb_crop": np.zeros((frames, 4)),
    }
    return {name: value for name, value in (content | changed).items() if value is not None}


def write_annot(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content, do_compression=True)


def write_annot_data(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in content.items():
            file[name] = value
