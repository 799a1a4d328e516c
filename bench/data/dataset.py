"""What a data set is to the suite: a class that says what its numbers are made from, and reads its videos.

docs/how-to/adding-a-dataset.md shows one from an empty folder to a row in a table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.data.files import archive
from bench.data.pose_dataset import Builder, PoseDataset, Video
from bench.geometry.camera import View
from bench.geometry.skeleton import Skeleton
from bench.system.errors import BenchError, unknown

FARTHEST = 10.0  # metres from the root that no joint can be: beyond it poses are in millimetres
SMALLEST_PX = 4  # where all keypoints of a video lie nearer to the corner, they are no pixels


@dataclass(frozen=True)
class Origin:
    """What the numbers of a data set follow from; its fingerprint is the hash of this.

    options: whatever changes the numbers, as text: the version of the reader, the kind of keypoints, seeds.
    files: the files that are read; their names and contents count, not where they lie.
    """

    options: Sequence[str]
    files: Sequence[Path] = ()


class Dataset(ABC):
    """One data set, named by an entry point of the group `bench.datasets`. It is built without arguments.

    name: that of the entry point. skeleton: the joints of its 2D and 3D. fps: frames per second.
    keypoints: the kinds of 2D that a benchmark may ask for, each with what `describe` and `read` are asked for then.
    cameras: the views by name, where no two subjects have different cameras of one name; else override `camera`.
    """

    name: ClassVar[str]
    skeleton: ClassVar[Skeleton]
    fps: ClassVar[float]
    keypoints: ClassVar[Mapping[str, str]] = {"gt": "gt"}
    cameras: ClassVar[Mapping[str, View]] = {}

    @abstractmethod
    def describe(self, root: Path, keypoints: str) -> Origin:
        """What the numbers are made from. root: the data folder. Reads no more than it must.

        Raises MissingDataError, saying how to get it, if a file is not there.
        """

    @abstractmethod
    def read(self, root: Path, keypoints: str) -> Iterable[Video]:
        """Every video, in any order, best one at a time: what was handed over need not stay in memory.

        Raises BenchError, naming file, subject and sequence, if the files do not hold what they should.
        """

    def camera(self, subject: str, name: str) -> View:
        """The image that a camera takes; with its lens, a Camera, where that is known. Raises BenchError if unknown."""
        if name not in self.cameras:
            raise unknown(f"camera in {type(self).__name__}.cameras", name, self.cameras)
        return self.cameras[name]

    # --- what the suite makes of these

    def fingerprint(self, root: Path, keypoints: str) -> str:
        """SHA-256 of what the numbers are made from. Raises MissingDataError if a file is not there."""
        origin = self.describe(root, keypoints)
        return archive.fingerprint(origin.options, origin.files)

    def collect(self, root: Path, keypoints: str, fingerprint: str) -> Builder:
        """Every video, checked and converted, to be stored or built.

        Raises BenchError, naming the video, for one that is not what `Video` says, that is there twice, or whose camera
        is not known; and if there is none.
        """
        builder = Builder(self.name, keypoints, self.fps, fingerprint, self.skeleton)
        names = set()
        for video in self.read(root, keypoints):
            where = f"{self.name}: {video.subject} {video.sequence!r}, camera {video.camera.name}"
            self._check(where, video)
            if (name := (video.subject, video.sequence, video.camera.name)) in names:
                raise BenchError(
                    f"{where}: read() gives this video twice; sequences of a subject need names of their own"
                )
            names.add(name)
            builder.add(video)
        if not names:
            raise BenchError(f"{self.name}: read() gives no video")
        return builder

    def in_memory(self, root: Path, keypoints: str) -> PoseDataset:
        """The data set in memory; `bench.load_dataset` keeps it on disk instead. keypoints: a value of `keypoints`."""
        return self.collect(root, keypoints, self.fingerprint(root, keypoints)).build()

    def _check(self, where: str, video: Video) -> None:
        for what in ("subject", "action", "sequence"):
            if not isinstance(getattr(video, what), str) or not getattr(video, what):
                raise BenchError(f"{where}: its {what} is {getattr(video, what)!r}, not a name")
        frames, joints = len(video.poses_camera), len(self.skeleton)
        for label, block, axes in (("keypoints_px", video.keypoints_px, 2), ("poses_camera", video.poses_camera, 3)):
            if block.shape != (frames, joints, axes) or not frames or block.dtype.kind != "f":
                expected = f"({frames or 'frames'}, {joints}, {axes}) numbers with a fraction"
                raise BenchError(f"{where}: {label} is {block.shape} {block.dtype}, expected {expected}")
            if not np.isfinite(block).all():
                raise BenchError(
                    f"{where}: frame {int(np.argwhere(~np.isfinite(block))[0, 0])} of {label} is not finite"
                )
        for label, marks, kind in (("valid", video.valid, "bool"), ("activities", video.activities, "uint8")):
            if marks is not None and (marks.shape != (frames,) or marks.dtype != kind):
                raise BenchError(f"{where}: {label} is {marks.shape} {marks.dtype}, expected ({frames},) {kind}")
        root = self.skeleton.root
        farthest = float(np.abs(video.poses_camera - video.poses_camera[:, root : root + 1]).max())
        if farthest > FARTHEST:
            raise BenchError(f"{where}: a joint lies {farthest:.0f} m from the root; poses_camera must be in metres")
        if np.abs(video.keypoints_px).max() < SMALLEST_PX:
            raise BenchError(
                f"{where}: no keypoint is farther than {SMALLEST_PX} pixels from the corner; they must be pixels"
            )
        known = self.camera(video.subject, video.camera.name)
        if (known.width, known.height) != (video.camera.width, video.camera.height):
            found = f"{video.camera.width} x {video.camera.height}"
            raise BenchError(f"{where}: its image is {found} pixels, but camera() says {known.width} x {known.height}")
