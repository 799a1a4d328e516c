"""Read files leniently: every sequence that can be interpreted, even if wrong. Others are reported and left out.

The data sets' own readers stop at the first error; these continue, so that one pass shows all errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.accounting import is_3dhp
from bench.data import dataset_named, human36m, mpi_inf_3dhp
from bench.data.dataset import Dataset
from bench.data.files import archive
from bench.data.mpi_inf_3dhp import MEASURED, UNIVERSAL, Labels
from bench.data.pose_dataset import subject_order
from bench.data.verify.findings import Report
from bench.geometry.camera import View, denormalise_screen, h36m_cameras
from bench.geometry.skeleton import (
    COCO_17,
    H36M_17,
    H36M_17_OF_32,
    MPI_INF_3DHP_17,
    MPI_INF_3DHP_17_OF_28,
    Skeleton,
)
from bench.system.errors import BenchError
from bench.system.paths import shown

Array = NDArray[Any]

SAMPLED = 60  # frames per video that are checked in detail
CHECKED = ("3dhp", "3dhp-annot3", "cmu", "h36m", "synthetic")  # data sets that have checks
UNITS = {"metres": (1.0, 0.3, 4.0), "centimetres": (100.0, 30.0, 300.0), "millimetres": (1000.0, 300.0, 4000.0)}


@dataclass
class Take:
    """One sequence. frames: (n,) the sampled frames of its 3D, out of `length`.

    body: (n, joints, 3) metres, in any axes. poses: of each camera of the rig, (n, joints, 3) metres, camera axes.
    keypoints: of each camera that the file has, (its frames, its joints, 2) pixels; None if unusable.
    """

    subject: str
    sequence: str
    skeleton: Skeleton
    length: int
    frames: NDArray[np.int64]
    body: Array
    cameras: list[View]
    poses: list[Array]
    keypoints: list[Array | None]
    valid: int | None = None  # number of scored frames, if a file states it
    fps: float | None = None

    @property
    def name(self) -> str:
        return f"{self.subject} {self.sequence!r}"


def takes(name: str, root: Path, keypoints: str, report: Report) -> Iterator[Take]:
    """Every sequence of one of the data sets in `CHECKED`. keypoints: as it calls them.

    Raises BenchError if a file is missing, damaged or of another kind.
    """
    if name == "h36m":
        yield from _human36m(root, keypoints, report)
    elif is_3dhp(name):
        yield from _mpi_inf_3dhp(root, MEASURED if name == MEASURED.dataset else UNIVERSAL, report)
    else:
        yield from _as_read(dataset_named(name), root, keypoints)


# --- Human3.6M


def _human36m(root: Path, kind: str, report: Report) -> Iterator[Take]:
    path_3d, path_2d = human36m.files(root, kind)
    positions_3d = _dictionary(path_3d, "positions_3d", archive.read_npz(path_3d))
    content_2d = archive.read_npz(path_2d)
    positions_2d = _dictionary(path_2d, "positions_2d", content_2d)
    _check_layout(content_2d.get("metadata"), path_2d, report)
    for subject in sorted(positions_3d, key=subject_order):
        rig = h36m_cameras().get(subject)
        if rig is None or not isinstance(positions_3d[subject], dict):
            report.wrong("subjects", f"{path_3d.name} holds a subject without known cameras", where=repr(subject))
            continue
        seen = positions_2d.get(subject)
        for sequence in sorted(positions_3d[subject]):
            where = f"{subject} {sequence!r}"
            recorded = _numbers(positions_3d[subject].pop(sequence), 3)
            views = seen.pop(sequence, None) if isinstance(seen, dict) else None
            if views is None:
                report.wrong("2D", f"{path_2d.name} lacks sequences that {path_3d.name} has", _MISMATCH, where)
            world = _recorded_joints(recorded, where, report)
            if world is None:
                continue
            length, frames = len(world), sampled(_finite(world, "3D", where, report))
            world = _in_metres(world[frames], "metres", "positions_3d", where, report)
            kept = world[:, H36M_17_OF_32] if world.shape[1] == human36m.RECORDED_JOINTS else world
            yield Take(
                subject,
                sequence,
                H36M_17,
                length=length,
                frames=frames,
                body=kept,
                cameras=list(rig),
                poses=[camera.to_camera(kept) for camera in rig],
                keypoints=_views(views, rig, length, where, report),
            )


_MISMATCH = "take both files from one preparation"


def _recorded_joints(recorded: Array | None, where: str, report: Report) -> Array | None:
    """(frames, 32, 3) as expected, or (frames, 17, 3) if the joints were already selected."""
    shape = () if recorded is None else recorded.shape
    if recorded is None or shape[1] not in (human36m.RECORDED_JOINTS, len(H36M_17)) or shape[2] != 3:
        report.wrong("joints", f"the 3D is {_shape(shape)}, not (frames, 32, 3)", "prepare the file again", where)
        return None
    if shape[1] == len(H36M_17):
        report.wrong(
            "joints", "the 3D has 17 joints: they are selected already", "keep all 32; the reader selects", where
        )
    return recorded.astype(np.float32)


def _views(views: Any, rig: Any, length: int, where: str, report: Report) -> list[Array | None]:
    """The 2D of each camera in the file."""
    if views is None:
        return []
    listed = list(views) if isinstance(views, (list, tuple, np.ndarray)) else []
    if len(listed) != len(rig):
        report.wrong("cameras", f"{len(listed)} views, not {len(rig)}", "a missing view needs the raw release", where)
    return [
        _keypoints(view, camera, length, f"{where}, camera {camera.name}", report)
        for camera, view in zip(rig, listed, strict=False)
    ]


def _check_layout(metadata: Any, path: Path, report: Report) -> None:
    """Check the layout by left and right joints: 17 keypoints may be COCO's."""
    if not isinstance(metadata, dict) or "keypoints_symmetry" not in metadata:
        return
    sides = [sorted(map(int, side)) for side in metadata["keypoints_symmetry"]]
    ours = [sorted(H36M_17.left), sorted(H36M_17.right)]
    coco = [[j for j, joint in enumerate(COCO_17.joints) if joint.startswith(side)] for side in ("left", "right")]
    if sides == coco:
        what = "its metadata say COCO's layout: an off-the-shelf detector, not CPN fine-tuned on Human3.6M"
        report.wrong("joints", what, "get the file of detections in Human3.6M's layout", path.name)
    elif sides == ours[::-1]:
        report.wrong("joints", "its metadata name left right and right left", "exchange keypoints_symmetry", path.name)
    elif sides != ours:
        what = f"its metadata say another joint set: left {sides[0]}, right {sides[1:]}"
        report.wrong("joints", what, "get the file in Human3.6M's layout of 17 joints", path.name)


# --- MPI-INF-3DHP


def _mpi_inf_3dhp(root: Path, labels: Labels, report: Report) -> Iterator[Take]:
    train, test, *_ = mpi_inf_3dhp.files(root, labels)
    sequences = _dictionary(train, "data", archive.read_npz(train))
    for name in sorted(sequences):
        recorded, where = sequences.pop(name), repr(name)
        if not re.fullmatch(r"S\d Seq\d", str(name)) or not (
            isinstance(recorded, (list, tuple, np.ndarray)) and len(recorded) == 2 and isinstance(recorded[0], dict)
        ):
            report.wrong("sequences", f"{train.name} holds what is not 'S1 Seq1': [views, fps]", "", where)
            continue
        views, expected = recorded[0], {camera.name: camera for camera in mpi_inf_3dhp.TRAIN_CAMERAS}
        if missing := sorted(set(expected) - set(map(str, views))):
            report.wrong("cameras", f"camera {', '.join(missing)} is missing", "prepare the file again", where)
        if more := sorted(map(str, set(views) - set(expected))):
            report.wrong("cameras", f"camera {', '.join(more)} does not belong here", "leave it out", where)
        cameras = [expected[key] for key in sorted(expected) if key in views]
        subject, sequence = name.split(" ")
        take = _filmed(subject, sequence, cameras, [views[camera.name] for camera in cameras], report)
        if take is not None:
            take.fps = float(recorded[1])
            yield take
    sequences = _dictionary(test, "data", archive.read_npz(test))
    for name in sorted(sequences):
        if name not in mpi_inf_3dhp.TEST_CAMERAS:
            report.wrong("sequences", f"{test.name} holds more than TS1 to TS6", "leave it out", repr(name))
            continue
        take = _filmed(name, name, [mpi_inf_3dhp.TEST_CAMERAS[name]], [sequences.pop(name)], report)
        if take is not None:
            yield take


def _filmed(subject: str, sequence: str, cameras: list[View], views: list[Any], report: Report) -> Take | None:
    """A sequence in which every camera has its own 3D."""
    blocks: dict[View, Array] = {}
    keypoints: list[Array | None] = []
    length, usable, valid = 0, np.ones(0, bool), None
    for camera, view in zip(cameras, views, strict=True):
        where = f"{subject} {sequence!r}, camera {camera.name}"
        content = view if isinstance(view, dict) else {}
        block = _joints_3dhp(_numbers(content.get("data_3d"), 3), where, report)
        if block is None:
            continue
        if not blocks:
            length, usable = len(block), np.ones(len(block), bool)
        elif len(block) != length:
            report.wrong("frames", "its 3D differs in length from the other cameras'", "prepare the file again", where)
            continue
        usable &= _finite(block, "3D", where, report)
        if "valid" in content:
            marked = np.asarray(content["valid"]).reshape(-1) == 1
            valid = int(marked.sum())
            usable &= marked if len(marked) == length else True
        blocks[camera] = block
        keypoints.append(_keypoints(content.get("data_2d"), camera, length, where, report))
    if not blocks:
        return None
    frames = sampled(usable)
    poses = [
        _in_metres(block[frames], "millimetres", "data_3d", f"{subject} {sequence!r}, camera {camera.name}", report)
        for camera, block in blocks.items()
    ]
    return Take(subject, sequence, MPI_INF_3DHP_17, length, frames, poses[0], [*blocks], poses, keypoints, valid)


def _joints_3dhp(block: Array | None, where: str, report: Report) -> Array | None:
    """(frames, 17, 3), selected here where all 28 joints are there."""
    if block is not None and block.shape[1:] == (28, 3):
        report.wrong("joints", "the 3D has all 28 joints", "select the 17 of the test set, in their order", where)
        return block[:, MPI_INF_3DHP_17_OF_28]
    if block is None or block.shape[1:] != (17, 3):
        found = _shape(() if block is None else block.shape)
        report.wrong("joints", f"the 3D is {found}, not (frames, 17, 3)", "prepare the file again", where)
        return None
    return block


# --- generated data sets, and shared helpers


def _as_read(source: Dataset, root: Path, kind: str) -> Iterator[Take]:
    """The sequences as the data set's own reader reads them."""
    dataset = source.in_memory(root, kind)
    for (subject, sequence), videos in dataset.sequences.groupby(["subject", "sequence"], sort=False):
        length = int(videos["frames"].iloc[0])
        frames = sampled(np.ones(length, bool))
        cameras, poses, keypoints = [], [], []
        for camera_name, start in zip(videos["camera"], videos["start"], strict=True):
            rows = slice(int(start), int(start) + length)
            camera = source.camera(str(subject), camera_name)
            cameras.append(camera)
            poses.append((dataset.poses_3d[rows] + dataset.roots[rows][:, None]).numpy()[frames])
            screen = dataset.keypoints_2d[rows].numpy()
            keypoints.append(denormalise_screen(screen, camera.width, camera.height))
        name = str(subject), str(sequence)
        yield Take(*name, dataset.skeleton, length, frames, poses[0], cameras, poses, [*keypoints])


def sampled(usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Up to `SAMPLED` frames, evenly spread over those that may be used."""
    there = np.flatnonzero(usable)
    return there[np.linspace(0, len(there) - 1, min(len(there), SAMPLED)).astype(np.int64)]


def _dictionary(path: Path, key: str, content: dict[str, Any]) -> dict[str, Any]:
    found = content.get(key)
    if not isinstance(found, dict) or not found:
        raise BenchError(f"{shown(path)}: expected an array {key!r}, found {', '.join(sorted(content)) or 'nothing'}")
    return found


def _numbers(recorded: Any, axes: int) -> Array | None:
    """An array of numbers with three axes, the last one at least `axes` long."""
    if not isinstance(recorded, np.ndarray) or recorded.ndim != 3 or recorded.dtype.kind not in "fiu":
        return None
    return recorded if len(recorded) and recorded.shape[2] >= axes else None


def _shape(shape: tuple[int, ...]) -> str:
    return f"(frames, {', '.join(map(str, shape[1:]))})" if shape else "no array of numbers"


def _finite(block: Array, what: str, where: str, report: Report) -> NDArray[np.bool_]:
    """(frames,) which hold nothing but numbers."""
    finite = np.asarray(np.isfinite(block).all(axis=(1, 2)))
    if not finite.all():
        spoilt = f"{where}, frame {int(np.argmin(finite))} and {int((~finite).sum()) - 1} more"
        report.wrong("numbers", f"the {what} holds NaN or infinity", "prepare the file again", spoilt)
    return finite


def _in_metres(poses: Array, expected: str, what: str, where: str, report: Report) -> Array:
    """Infer the unit: a person measures between 0.3 and 4 m in any pose."""
    if not len(poses):
        return poses
    size = float(np.median(np.linalg.norm(np.ptp(poses, axis=1), axis=-1)))
    unit = next((unit for unit, (_, low, high) in UNITS.items() if low <= size < high), None)
    if unit is None:
        found = f"people in {what} are {size:.2g} long: no known unit of length"
        report.wrong("units", found, f"{what} must be in {expected}", where)
        return np.asarray(poses / poses.dtype.type(size / 1.7))
    if unit != expected:
        factor = UNITS[expected][0] / UNITS[unit][0]
        report.wrong("units", f"{what} is in {unit}, not in {expected}", f"multiply it by {factor:g}", where)
    return np.asarray(poses / poses.dtype.type(UNITS[unit][0]))


def _keypoints(recorded: Any, camera: View, length: int, where: str, report: Report) -> Array | None:
    """The 2D of a view, (its frames, joints, 2) pixels."""
    block = _numbers(recorded, 2)
    if block is None or block.shape[1] != 17:
        shape = () if block is None else block.shape
        advice = "16 are MPII's, of a stacked hourglass: get another file" if 16 in shape[1:2] else _MISMATCH
        report.wrong("joints", f"the 2D is {_shape(shape)}, not (frames, 17, 2)", advice, where)
        return None
    block = np.asarray(block[..., :2], np.float64)
    _finite(block[:length], "2D", where, report)
    finite = block[:length][np.isfinite(block[:length])]
    if finite.size and np.abs(finite).max() < 4:
        report.wrong("pixels", "the 2D is normalised already, to about -1..1", "store pixels", where)
        return denormalise_screen(block, camera.width, camera.height)
    return block
