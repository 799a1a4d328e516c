"""Human3.6M (Ionescu et al., TPAMI 2014) in the files of the lifting community.

`data_3d_h36m.npz` holds `positions_3d`: {subject: {sequence: (frames, 32, 3)}}, world axes, metres, 50 Hz.
`data_2d_h36m_<keypoints>.npz` holds `positions_2d`: {subject: {sequence: [(frames, 17, 2) pixels of each camera]}}.
Both lie in the data folder or in `h36m/` below it. Rules: docs/reference/datasets.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import SMALLEST_PX, Dataset, Origin
from bench.data.files import archive
from bench.data.pose_dataset import Video
from bench.geometry.camera import Camera, h36m_cameras
from bench.geometry.skeleton import H36M_17, H36M_17_OF_32
from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown

Array = NDArray[Any]

RECORDED_JOINTS = 32
FARTHEST = 50.0  # metres from the studio's origin: if a joint lies farther away, the file is in millimetres
READER = "h36m, reader 2"  # change it when an edit here changes numbers


class Human36M(Dataset):
    """Every sequence of the annotated subjects, seen by its four cameras. `keypoints` is the suffix of the 2D file.

    Subjects with 2D but no 3D are left out.
    """

    name = "h36m"
    skeleton = H36M_17
    fps = 50.0
    keypoints = {"gt": "gt", "cpn": "cpn_ft_h36m_dbb"}

    def describe(self, root: Path, keypoints: str) -> Origin:
        """The reader's version and the two files. Raises MissingDataError if one of them is missing."""
        return Origin([READER, keypoints], files(root, keypoints))

    def read(self, root: Path, keypoints: str) -> Iterator[Video]:
        """Raises MissingDataError if a file is missing; BenchError, naming file, subject, sequence and camera, if the
        content of a file is invalid or the two files do not belong together.
        """
        return _videos(*files(root, keypoints))

    def camera(self, subject: str, name: str) -> Camera:
        """One of the four cameras of a subject."""
        return next(camera for camera in h36m_cameras()[subject] if camera.name == name)


def _videos(path_3d: Path, path_2d: Path) -> Iterator[Video]:
    positions_3d = _positions(path_3d, "positions_3d", archive.read_npz(path_3d))
    content_2d = archive.read_npz(path_2d)
    _check_joint_order(path_2d, content_2d.get("metadata"))
    positions_2d = _positions(path_2d, "positions_2d", content_2d)
    for subject in sorted(positions_3d):
        if subject not in h36m_cameras():
            raise BenchError(f"{shown(path_3d)}: no cameras are known for subject {subject!r}")
        views = positions_2d.pop(subject, {})
        for sequence, recorded in _emptied(positions_3d[subject]):
            where = f"{subject} {sequence!r}"
            poses = _world_poses(f"{shown(path_3d)}: {where}", recorded)
            seen = views.pop(sequence, None)
            if seen is None:
                raise BenchError(f"{shown(path_2d)}: {where} is missing, which {path_3d.name} holds. {_MISMATCH}")
            for camera, keypoints_px in _by_camera(f"{shown(path_2d)}: {where}", seen, subject, len(poses)):
                # World to camera in the files' float32, as the published files were made.
                joints = camera.to_camera(poses)
                extent = float(np.abs(joints - joints[:, :1]).max())  # of all 32 joints
                action, kept = sequence.split(" ")[0], joints[:, H36M_17_OF_32]
                yield Video(subject, action, sequence, camera, keypoints_px, kept, extent=extent)


_MISMATCH = "The two files come from different preparations: docs/reference/datasets.md says how to make both"
# What to do if a file is missing.
_PREPARED = "To convert the raw download: bench data prepare h36m --raw DIR"
_DETECTED = "Detections cannot be made from the raw data"


def files(root: Path, keypoints: str) -> tuple[Path, Path]:
    """The 3D and the 2D file, in the data folder or in `h36m/` below it."""
    found = []
    for name in ("data_3d_h36m.npz", f"data_2d_h36m_{keypoints}.npz"):
        places = [root / "h36m" / name, root / name]
        there = [place for place in places if place.is_file()]
        if not there:
            raise MissingDataError(
                f"h36m: {name} not found, looked for {' and '.join(shown(place) for place in places)}. Human3.6M needs "
                f"a licence; how to get it: docs/reference/datasets.md. {_DETECTED if 'cpn' in name else _PREPARED}. "
                "To try the suite without it: make demo"
            )
        found.append(there[0])
    return found[0], found[1]


def _positions(path: Path, key: str, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The nested dictionary {subject: {sequence: ...}} of a file."""
    positions = content.get(key)
    if positions is None:
        raise BenchError(f"{shown(path)}: expected an array {key!r}, found {', '.join(sorted(content)) or 'nothing'}")
    if not isinstance(positions, dict) or not positions:
        raise BenchError(f"{shown(path)}: {key!r} holds {_found(positions)}, not sequences by subject")
    for subject, sequences in positions.items():
        if not isinstance(sequences, dict):
            raise BenchError(f"{shown(path)}: {subject} holds {type(sequences).__name__}, not sequences by name")
        for name in (subject, *sequences):
            if not isinstance(name, str):
                raise BenchError(f"{shown(path)}: {name} is not the name of a subject or a sequence")
    return positions


def _emptied(sequences: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Sequences by name, each removed from the dictionary, so that converted ones can be freed."""
    for sequence in sorted(sequences):
        yield sequence, sequences.pop(sequence)


def _world_poses(where: str, recorded: Any) -> NDArray[np.float32]:
    """All recorded joints: (frames, 32, 3) float32 metres."""
    shape = _shape_of_numbers(recorded)
    if len(shape) != 3 or shape[1:] != (RECORDED_JOINTS, 3) or not shape[0]:
        raise BenchError(f"{where}: expected (frames, {RECORDED_JOINTS}, 3), found {_found(recorded)}")
    poses = np.asarray(recorded, np.float32)
    if not np.isfinite(poses).all():
        frame = int(np.argwhere(~np.isfinite(poses))[0, 0])
        raise BenchError(f"{where}: frame {frame} holds numbers that are not finite")
    if np.abs(poses).max() > FARTHEST:
        raise BenchError(f"{where}: a joint lies {np.abs(poses).max():.0f} m away; is the file in millimetres?")
    return poses


def _by_camera(where: str, seen: Any, subject: str, frames: int) -> Iterator[tuple[Camera, NDArray[np.float32]]]:
    """Each camera with its keypoints, cut to the frames that have 3D: (frames, 17, 2) pixels."""
    rig, joints = h36m_cameras()[subject], len(H36M_17)
    listed = isinstance(seen, list | tuple) or (isinstance(seen, np.ndarray) and seen.ndim > 0)
    cameras = len(seen) if listed else 0
    if cameras != len(rig):
        raise BenchError(f"{where}: {cameras} cameras, expected {len(rig)}")
    for index, (camera, view) in enumerate(zip(rig, seen, strict=True)):
        shape = _shape_of_numbers(view)
        if len(shape) != 3 or shape[1] != joints or shape[2] < 2:
            raise BenchError(f"{where}, camera {index}: expected (frames, {joints}, 2), found {_found(view)}")
        if shape[0] < frames:
            raise BenchError(f"{where}, camera {index}: {shape[0]} frames of 2D, {frames} of 3D. {_MISMATCH}")
        keypoints_px = np.asarray(view, np.float32)[:frames, :, :2]  # videos continue after the motion capture stops
        if not np.isfinite(keypoints_px).all():
            frame = int(np.argwhere(~np.isfinite(keypoints_px))[0, 0])
            raise BenchError(f"{where}, camera {index}: frame {frame} holds numbers that are not finite")
        if np.abs(keypoints_px).max() < SMALLEST_PX:
            raise BenchError(
                f"{where}, camera {index}: no keypoint is farther than {SMALLEST_PX} pixels from the corner; are they "
                "normalised already?"
            )
        yield camera, keypoints_px


def _shape_of_numbers(recorded: Any) -> tuple[int, ...]:
    """The shape of an array of numbers; () for anything else."""
    return recorded.shape if isinstance(recorded, np.ndarray) and recorded.dtype.kind in "fiu" else ()


def _found(recorded: Any) -> str:
    """What was found, for a message: the shape of an array, or the type of anything else."""
    if not isinstance(recorded, np.ndarray):
        return f"a {type(recorded).__name__}"
    return f"{recorded.shape}" if recorded.dtype.kind in "fiu" else f"{recorded.shape} of {recorded.dtype}"


def _check_joint_order(path: Path, metadata: Any) -> None:
    """Check the layout by left and right joints: COCO has 17 keypoints too."""
    if not isinstance(metadata, dict) or "keypoints_symmetry" not in metadata:
        return
    try:
        sides = [sorted(int(joint) for joint in side) for side in metadata["keypoints_symmetry"]]
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"{shown(path)}: its metadata do not name left and right joints ('keypoints_symmetry')"
        ) from error
    if sides == [list(H36M_17.right), list(H36M_17.left)]:
        raise BenchError(f"{shown(path)}: its left and right joints are swapped; the file shows mirrored people")
    if sides != [list(H36M_17.left), list(H36M_17.right)]:
        raise BenchError(
            f"{shown(path)}: its left and right joints are {sides[0]} and {sides[1:]}, those of {H36M_17.name} are "
            f"{list(H36M_17.left)} and {list(H36M_17.right)}; the file holds another joint set"
        )
