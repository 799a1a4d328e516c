"""Files of people who walk pass, and every usual mix-up is called by its name, alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import save_3dhp, save_h36m

from bench.camera import denormalise_screen, h36m_cameras, normalise_screen, project
from bench.data import synthetic
from bench.data.detector import detect
from bench.data.verify import known, verify
from bench.data.verify.bodies import LAYOUTS, handedness, whole_orders
from bench.data.verify.known import thinned
from bench.errors import BenchError, MissingDataError
from bench.skeleton import COCO_17_JOINTS, H36M_17, H36M_17_OF_32, MPI_INF_3DHP_17

FRAMES = 70
H36M = {"S1": ("WalkDog", "Walking 1"), "S9": ("Photo", "Waiting 1"), "S11": ("Walking", "Walking 1")}
MIRROR = list(H36M_17.mirror)


@pytest.fixture(scope="module")
def walking() -> dict[tuple[str, str], np.ndarray]:
    """World metres of a walk of each sequence: (frames, 17, 3)."""
    return {
        (subject, sequence): synthetic.motion(subject, "walk", take)[:FRAMES]
        for subject, sequences in H36M.items()
        for take, sequence in enumerate(sequences)
    }


@pytest.fixture(autouse=True)
def few_sequences(monkeypatch):
    """Let these few short sequences be what whole files hold."""
    monkeypatch.setattr(known, "H36M_SEQUENCES", {subject: frozenset(names) for subject, names in H36M.items()})
    monkeypatch.setattr(known, "H36M_FRAMES", {("S1",): 8 * FRAMES, ("S9", "S11"): 16 * FRAMES})
    monkeypatch.setattr(known, "MPI_INF_3DHP_TRAIN", {"S1 Seq1": (FRAMES, 25), "S1 Seq2": (FRAMES, 50)})
    monkeypatch.setattr(known, "MPI_INF_3DHP_TEST", {"TS1": FRAMES, "TS5": FRAMES})
    monkeypatch.setattr(known, "MPI_INF_3DHP_VALID", {"TS1": 64, "TS5": FRAMES})


def findings(report: Any, level: str = "wrong") -> list[str]:
    return [f"{finding.check}: {finding.found}" for finding in report.findings if finding.level == level]


# --- Human3.6M

Files = dict[str, Any]  # "world" and "pixels" by subject and sequence, "metadata"


@pytest.fixture
def h36m(walking, tmp_path) -> Callable[..., Any]:
    """Writes files that somebody has changed, and verifies them."""

    def report(change: Callable[[Files], None] = lambda files: None, keypoints: str = "gt") -> Any:
        world: dict[str, Any] = {subject: {} for subject in H36M}
        pixels: dict[str, Any] = {subject: {} for subject in H36M}
        rng = np.random.default_rng(3)
        for (subject, sequence), motion in walking.items():
            recorded = np.repeat(motion[:, :1], 32, axis=1)
            recorded[:, H36M_17_OF_32] = motion
            world[subject][sequence] = recorded.astype(np.float32)
            pixels[subject][sequence] = []
            for camera in h36m_cameras()[subject]:
                poses = camera.to_camera(motion.astype(np.float32))
                seen = denormalise_screen(camera.project(poses), camera.width, camera.height)
                if keypoints != "gt":
                    seen = detect(seen, H36M_17, 50, rng)
                pixels[subject][sequence].append(seen)
        files = {"world": world, "pixels": pixels, "metadata": {"layout_name": "h36m"}}
        change(files)
        save_h36m(tmp_path, files["world"], files["pixels"], keypoints, **files["metadata"])
        return verify("h36m", tmp_path, keypoints)

    return report


def test_right_files_are_right(h36m):
    for keypoints in ("gt", "cpn_ft_h36m_dbb"):
        report = h36m(keypoints=keypoints)
        assert not findings(report)
        assert not findings(report, "warning")
        assert not report.is_wrong
        checks = {finding.check for finding in report.findings}
        assert checks >= {"subjects", "sequences", "frames", "units", "numbers", "joints", "bones", "left and right"}
        assert checks >= {"alignment", "reprojection", "loading"}
        assert str(report).endswith("0 wrong, 0 warning, 11 ok")


def in_3d(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], None]:
    def everywhere(files: Files) -> None:
        for sequences in files["world"].values():
            for name, poses in sequences.items():
                sequences[name] = np.ascontiguousarray(change(poses))

    return everywhere


def in_2d(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], None]:
    def everywhere(files: Files) -> None:
        for sequences in files["pixels"].values():
            for name, views in sequences.items():
                sequences[name] = [np.ascontiguousarray(change(view)) for view in views]

    return everywhere


def both(*changes: Callable[[Files], None]) -> Callable[[Files], None]:
    def all_of_them(files: Files) -> None:
        for change in changes:
            change(files)

    return all_of_them


def swap_3d(poses: np.ndarray) -> np.ndarray:
    swapped = poses.copy()
    swapped[:, H36M_17_OF_32] = poses[:, H36M_17_OF_32][:, MIRROR]
    return swapped


def in_order_of(layout: tuple[str, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Human3.6M's joints in another order; joints that it does not have lie at the head."""
    order = [H36M_17.joints.index(joint if joint in H36M_17.joints else "head") for joint in layout]
    return lambda block: block[:, order]


def reorder_cameras(files: Files) -> None:
    for sequences in files["pixels"].values():
        for name, views in sequences.items():
            sequences[name] = [views[1], views[0], *views[2:]]


def flip(axis: int, size: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda view: size * np.eye(2, dtype=np.float32)[axis] + view * (1 - 2 * np.eye(2, dtype=np.float32)[axis])


def undistorted(files: Files) -> None:
    for subject, sequences in files["pixels"].items():
        for name in sequences:
            sequences[name] = [
                denormalise_screen(
                    project(
                        camera.to_camera(files["world"][subject][name][:, H36M_17_OF_32]),
                        camera.intrinsics,
                        distort=False,
                    ),
                    camera.width,
                    camera.height,
                )
                for camera in h36m_cameras()[subject]
            ]


def normalise(files: Files) -> None:
    for subject, sequences in files["pixels"].items():
        for name, views in sequences.items():
            rig = zip(h36m_cameras()[subject], views, strict=True)
            sequences[name] = [normalise_screen(view, camera.width, camera.height) for camera, view in rig]


def set_item(part: str, *keys: Any, value: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        place = files[part]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value(place.get(keys[-1]) if isinstance(place, dict) else place[keys[-1]])

    return change


def delete(*keys: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        place: Any = files
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def add_directions(files: Files) -> None:
    for part in ("world", "pixels"):
        files[part]["S11"]["Directions"] = files[part]["S11"]["Walking"]


def rename(old: str, new: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for part in ("world", "pixels"):
            files[part]["S9"][new] = files[part]["S9"].pop(old)

    return change


def nan(block: np.ndarray) -> np.ndarray:
    spoilt = block.copy()
    spoilt[7, 3, 0] = np.nan
    return spoilt


GT = [
    (in_3d(lambda poses: poses * 1000), ["units: positions_3d is in millimetres, not in metres"]),
    (in_3d(swap_3d), ["left and right: left and right are exchanged in the 3D only"]),
    (in_2d(lambda view: view[:, MIRROR]), ["left and right: left and right are exchanged in the 2D only"]),
    (
        both(in_3d(swap_3d), in_2d(lambda view: view[:, MIRROR])),
        ["left and right: left and right are exchanged in both 2D and 3D"],
    ),
    (in_2d(flip(0, 1000)), ["image: the image is mirrored"]),
    (in_2d(lambda view: flip(0, 1000)(view)[:, MIRROR]), ["image: the image is mirrored"]),
    (in_2d(flip(1, 1000)), ["image: the image is upside down"]),
    (in_2d(lambda view: view / 2), ["image: the image is of another size: x is scaled by 0.50 and y by 0.50"]),
    (in_2d(lambda view: view - np.float32([60, 20])), ["image: the 2D is shifted by some pixels"]),
    (normalise, ["pixels: the 2D is normalised already"]),
    (in_2d(in_order_of(COCO_17_JOINTS)), ["joints: the 2D is in the order of COCO-17"]),
    (in_2d(in_order_of(LAYOUTS[MPI_INF_3DHP_17.name])), ["joints: the 2D is in the order of MPI-INF-3DHP-17"]),
    (in_2d(lambda view: view[:, :16]), ["joints: the 2D is (frames, 16, 2)"]),
    (reorder_cameras, ["cameras: cameras are in another order"]),
    (undistorted, ["lens: the 2D is projected without lens distortion"]),
    (
        in_2d(lambda view: np.concatenate([view[:1].repeat(4, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 4 frames of 2D before"],
    ),
    (
        in_2d(lambda view: np.concatenate([view[:1].repeat(40, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 40 frames of 2D before"],
    ),
    (
        in_2d(lambda view: np.concatenate([view[3:], view[-3:]])),
        ["alignment: 2D and 3D are shifted: 3 frames of 2D missing before"],
    ),
    (in_2d(lambda view: view[::2]), ["frame rate: the 2D has only every second frame", "frames: the 2D has fewer"]),
    (in_3d(lambda poses: poses[::5]), ["frames: only every fifth frame is there", "frame rate: the 3D has only every"]),
    (
        both(in_3d(lambda poses: poses[::2]), in_2d(lambda view: view[::2])),
        ["frames: only every second frame is there: 25 a second"],
    ),
    (in_2d(lambda view: view[:-1]), ["frames: the 2D has fewer frames than the 3D"]),
    (in_3d(nan), ["numbers: the 3D holds NaN"]),
    (in_2d(nan), ["numbers: the 2D holds NaN"]),
    (add_directions, ["sequences: S11 'Directions' is there"]),
    (
        rename("Photo", "TakingPhoto"),
        ["sequences: sequences are missing", "sequences: 'TakingPhoto' has not been renamed to 'Photo'"],
    ),
    (delete("world", "S9", "Photo"), ["sequences: sequences are missing"]),
    (delete("pixels", "S9", "Photo"), ["2D: data_2d_h36m_gt.npz lacks sequences"]),
    (delete("world", "S9"), ["subjects: missing: S9"]),
    (delete("pixels", "S1", "WalkDog", 3), ["cameras: 3 views, not 4"]),
    (delete("pixels", "S1", "WalkDog", 0), ["cameras: 3 views, not 4", "cameras: cameras are in another order"]),
    (in_3d(lambda poses: poses[:, H36M_17_OF_32]), ["joints: the 3D has 17 joints"]),
    (
        set_item("pixels", "S1", "WalkDog", 1, value=lambda view: view * 0 + 5),
        ["reprojection: 2D and 3D do not belong together"],
    ),
    (
        set_item("metadata", "keypoints_symmetry", value=lambda _: [[1, 3, 5, 7], [2, 4, 6, 8]]),
        ["joints: its metadata say another joint set"],
    ),
    (
        set_item("metadata", "keypoints_symmetry", value=lambda _: [[1, 2, 3, 14, 15, 16], [4, 5, 6, 11, 12, 13]]),
        ["joints: its metadata name left right"],
    ),
    (
        set_item("metadata", "keypoints_symmetry", value=lambda _: [[*range(1, 16, 2)], [*range(2, 17, 2)]]),
        ["joints: its metadata say COCO's layout"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), GT, ids=[expected[-1] for _, expected in GT])
def test_a_mix_up_of_human36m_is_called_by_its_name_and_nothing_else_is(h36m, change, expected):
    report = h36m(change)
    found = findings(report)
    assert [text for text in found if not any(text.startswith(start) for start in expected)] == []
    assert [start for start in expected if not any(text.startswith(start) for text in found)] == []
    assert report.is_wrong


CPN = [
    (in_2d(lambda view: view[:, MIRROR]), ["left and right: left and right are exchanged in the 2D only"]),
    (in_2d(flip(0, 1000)), ["image: the image is mirrored"]),
    (in_2d(in_order_of(COCO_17_JOINTS)), ["joints: the 2D is in the order of COCO-17"]),
    (reorder_cameras, ["cameras: cameras are in another order"]),
    (
        in_2d(lambda view: np.concatenate([view[:1].repeat(9, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 9 frames of 2D before"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), CPN, ids=[expected[-1] for _, expected in CPN])
def test_a_mix_up_is_recognised_under_the_noise_of_a_detector(h36m, change, expected):
    found = findings(h36m(change, "cpn_ft_h36m_dbb"))
    assert [text for text in found if not any(text.startswith(start) for start in expected)] == []
    assert len(found) == len(expected)
