"""MPI-INF-3DHP (Mehta et al., 3DV 2017) in the files of the lifting community.

`data_train_3dhp.npz` holds `data`: {"S1 Seq1": [{camera: {"data_2d", "data_3d"}}, frames per second]}, eight cameras.
`data_test_3dhp.npz` holds `data`: {"TS1": {"data_2d", "data_3d", "valid"}}, one camera.
data_2d: (frames, 17, 2) pixels; data_3d: (frames, 17, 3) millimetres, camera axes; valid: (frames,), 1 where a frame is
scored. Both files lie in the data folder or in `3dhp/` below it. `activity_test_3dhp.npz` may lie there too: arrays TS1
to TS6, (frames,), the activity of each frame, 1 to 7. Rules: docs/reference/datasets.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import SMALLEST_PX, Dataset, Origin
from bench.data.files import archive
from bench.data.mpi_inf_3dhp_labels import ACTIVITIES
from bench.data.pose_dataset import Video
from bench.geometry.camera import View
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown

Floats = NDArray[np.floating[Any]]

ACTIVITY_FILE = "activity_test_3dhp.npz"
TRAIN_CAMERAS = tuple(View(name, 2048, 2048) for name in ("0", "1", "2", "4", "5", "6", "7", "8"))
TEST_CAMERAS = {
    "TS1": View("0", 2048, 2048),
    "TS2": View("0", 2048, 2048),
    "TS3": View("0", 2048, 2048),
    "TS4": View("0", 2048, 2048),
    "TS5": View("0", 1920, 1080),
    "TS6": View("0", 1920, 1080),
}
MM = 1000.0  # per metre
FARTHEST = 50.0  # metres: no joint is this far from the camera, so a file whose numbers stay below is in metres
READER = "3dhp, reader 1"  # change it when an edit here changes numbers


@dataclass(frozen=True)
class Labels:
    """One of the two kinds of 3D labels of the authors: name of the data set, skeletons, files."""

    dataset: str
    skeleton: str  # as `bench data prepare --skeleton` calls it
    train: str
    test: str


# univ_annot3: all people scaled to one height; annot3: as measured
UNIVERSAL = Labels("3dhp", "universal", "data_train_3dhp.npz", "data_test_3dhp.npz")
MEASURED = Labels("3dhp-annot3", "camera", "data_train_3dhp_annot3.npz", "data_test_3dhp_annot3.npz")


class MpiInf3dhp(Dataset):
    """Training subjects S1 to S8, each view a video, and the test sequences TS1 to TS6, each a subject of its own.

    The action of a video is its sequence.
    """

    name = UNIVERSAL.dataset
    skeleton = MPI_INF_3DHP_17
    fps = 25.0  # of 11 of the 16 training sequences; the other five have 50, those of the test set are not stated
    labels = UNIVERSAL

    def describe(self, root: Path, keypoints: str) -> Origin:
        """The reader's version and the files. Raises MissingDataError if one of the two required ones is missing."""
        return Origin([READER, keypoints], files(root, self.labels))

    def read(self, root: Path, keypoints: str) -> Iterator[Video]:
        """Raises MissingDataError if a file is missing; BenchError, naming file, sequence and camera, if the content of
        a file is invalid.
        """
        return _videos(root, self.labels)

    def camera(self, subject: str, name: str) -> View:
        """The camera of a test sequence, or one of the eight of the training subjects."""
        return TEST_CAMERAS[subject] if subject in TEST_CAMERAS else next(c for c in TRAIN_CAMERAS if c.name == name)


class MpiInf3dhpAnnot3(MpiInf3dhp):
    """The same with the skeletons as measured; those of `3dhp` are scaled to one height.

    A separate data set, because numbers of the two kinds of labels are not comparable (docs/reference/datasets.md).
    """

    name = MEASURED.dataset
    labels = MEASURED


def _videos(root: Path, labels: Labels) -> Iterator[Video]:
    train, test, *others = files(root, labels)
    activities = _activities(others[0]) if others else None
    for name, recorded in _emptied(_sequences(train, r"S[1-8] Seq[12]", "S1 Seq1 to S8 Seq2")):
        where = f"{shown(train)}: {name!r}"
        subject, sequence = name.split(" ")
        views = _views(where, recorded)
        for camera in TRAIN_CAMERAS:
            keypoints_px, poses, _ = _video(f"{where}, camera {camera.name}", views.pop(camera.name))
            yield Video(subject, sequence, sequence, camera, keypoints_px, poses, extent=_extent(poses))
    for name, recorded in _emptied(_sequences(test, r"TS[1-6]", "TS1 to TS6")):
        keypoints_px, poses, valid = _video(f"{shown(test)}: {name!r}", recorded, tested=True)
        doing = None if activities is None else _activity(f"{shown(others[0])}: {name!r}", activities, name, len(poses))
        yield Video(name, name, name, TEST_CAMERAS[name], keypoints_px, poses, valid, doing, _extent(poses))


def _extent(poses: Floats) -> float:
    """The largest root-relative coordinate, in metres, of the float32 numbers that a data set keeps."""
    root = MPI_INF_3DHP_17.root
    return float(np.abs((poses - poses[:, root : root + 1]).astype(np.float32)).max())


def files(root: Path, labels: Labels) -> list[Path]:
    """The training and the test file, and that of activities if there is one; in the data folder or in its `3dhp/`."""
    found = []
    for name in (labels.train, labels.test, ACTIVITY_FILE):
        places = [root / "3dhp" / name, root / name]
        there = [place for place in places if place.is_file()]
        if not there and name != ACTIVITY_FILE:
            raise MissingDataError(
                f"{labels.dataset}: {name} not found, looked for {' and '.join(shown(place) for place in places)}. "
                "MPI-INF-3DHP has terms of its own; how to get it: docs/reference/datasets.md. To convert the raw "
                f"download: bench data prepare 3dhp --raw DIR --skeleton {labels.skeleton}. To try the suite "
                "without it: make demo"
            )
        found += there[:1]
    return found


def _sequences(path: Path, pattern: str, known: str) -> dict[str, Any]:
    """The dictionary of a file, whose keys must be sequences."""
    content = archive.read_npz(path)
    sequences = content.get("data")
    if sequences is None:
        raise BenchError(f"{shown(path)}: expected an array 'data', found {', '.join(sorted(content)) or 'nothing'}")
    if not isinstance(sequences, dict) or not sequences:
        raise BenchError(f"{shown(path)}: 'data' is a {type(sequences).__name__}, not sequences by name")
    for name in sequences:
        if not re.fullmatch(pattern, str(name)):
            raise BenchError(f"{shown(path)}: {name!r} is no sequence of this file, which holds {known}")
    return sequences


def _emptied(sequences: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Sequences by name, each removed from the dictionary, so that converted ones can be freed."""
    for name in sorted(sequences):
        yield name, sequences.pop(name)


def _views(where: str, recorded: Any) -> dict[str, Any]:
    """The view of each camera in a training sequence, by the camera's name."""
    pair = isinstance(recorded, list | tuple) or getattr(recorded, "shape", ()) == (2,)
    if not pair or len(recorded) != 2 or not isinstance(recorded[0], dict):
        raise BenchError(f"{where}: expected [views by camera, frames per second], found {type(recorded).__name__}")
    views, expected = recorded[0], {camera.name for camera in TRAIN_CAMERAS}
    if set(views) != expected:
        raise BenchError(f"{where}: cameras are {_listed(views)}, expected {_listed(expected)}")
    return views


def _video(where: str, view: Any, tested: bool = False) -> tuple[Floats, Floats, NDArray[np.bool_] | None]:
    """Pixels, metres and valid frames of one view."""
    keys = {"data_2d", "data_3d"} | ({"valid"} if tested else set())
    if not isinstance(view, dict) or set(view) != keys:
        found = _listed(view) if isinstance(view, dict) else type(view).__name__
        raise BenchError(f"{where}: expected {_listed(keys)}, found {found}")
    keypoints_px = _block(f"{where}, data_2d", view["data_2d"], axes=2)
    poses_mm = _block(f"{where}, data_3d", view["data_3d"], axes=3)
    frames = len(poses_mm)
    if len(keypoints_px) != frames:
        raise BenchError(f"{where}: {len(keypoints_px)} frames of 2D, {frames} of 3D; the file is damaged or mixed up")
    if np.abs(keypoints_px).max() < SMALLEST_PX:
        raise BenchError(
            f"{where}: no keypoint is farther than {SMALLEST_PX} pixels from the corner; are they normalised already?"
        )
    farthest = float(np.abs(poses_mm).max())
    if not FARTHEST <= farthest <= FARTHEST * MM:
        unit = "metres" if farthest < FARTHEST else "some smaller unit"
        raise BenchError(f"{where}: the largest coordinate is {farthest:.4g}; is the 3D in {unit}, not in millimetres?")
    return keypoints_px, poses_mm / poses_mm.dtype.type(MM), _valid(where, view["valid"], frames) if tested else None


def _block(where: str, recorded: Any, axes: int) -> Floats:
    """(frames, 17, axes) finite numbers, in the float type of the file."""
    shape: tuple[int, ...] = recorded.shape if isinstance(recorded, np.ndarray) else ()
    joints = len(MPI_INF_3DHP_17)
    if len(shape) != 3 or shape[1:] != (joints, axes) or not shape[0] or recorded.dtype.kind not in "fiu":
        raise BenchError(f"{where}: expected (frames, {joints}, {axes}) numbers, found {shape}")
    block: Floats = recorded if recorded.dtype.kind == "f" else recorded.astype(np.float64)
    if not np.isfinite(block).all():
        frame = int(np.argwhere(~np.isfinite(block))[0, 0])
        raise BenchError(f"{where}: frame {frame} holds numbers that are not finite")
    return block


def _valid(where: str, recorded: Any, frames: int) -> NDArray[np.bool_]:
    """Which frames of a test sequence are scored."""
    if not isinstance(recorded, np.ndarray) or recorded.dtype.kind not in "biuf":
        raise BenchError(f"{where}, valid: expected {frames} values of 0 or 1, found {type(recorded).__name__}")
    if recorded.shape != (frames,) or not np.isin(recorded, (0, 1)).all():
        found = f"the values {_listed(np.unique(recorded)[:5])} in the shape {np.shape(recorded)}"
        raise BenchError(f"{where}, valid: expected {frames} values of 0 or 1, found {found}")
    valid: NDArray[np.bool_] = np.asarray(recorded).astype(bool)
    if not valid.any():
        raise BenchError(f"{where}, valid: no frame is valid, so nothing could be scored")
    return valid


def _activities(path: Path) -> dict[str, Any]:
    """The arrays of the file of activities, by sequence."""
    activities = archive.read_npz(path)
    for name in activities:
        if not re.fullmatch(r"TS[1-6]", name):
            raise BenchError(f"{shown(path)}: {name!r} is no sequence of this file, which holds TS1 to TS6")
    return activities


def _activity(where: str, activities: dict[str, Any], name: str, frames: int) -> NDArray[np.uint8]:
    """The activity of each frame of a test sequence: 1 to 7, or 0 for none of them."""
    if name not in activities:
        raise BenchError(f"{where} is missing, which the test file holds; make the two files from the same release")
    recorded, known = np.asarray(activities[name]), range(len(ACTIVITIES) + 1)
    if recorded.shape != (frames,) or not np.isin(recorded, known).all():
        found = f"the values {_listed(np.unique(recorded)[:9])} in the shape {recorded.shape}"
        raise BenchError(f"{where}: expected {frames} whole numbers from 1 to {len(ACTIVITIES)}, found {found}")
    return recorded.astype(np.uint8)


def _listed(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"
