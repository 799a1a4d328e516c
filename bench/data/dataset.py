"""The interface of a data set: a class that states the origin of its numbers, and reads its videos.

docs/how-to/adding-a-dataset.md builds one, from an empty folder to a row in a table.
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

FARTHEST = 10.0  # metres from the root: if a joint lies farther away, the poses are in millimetres
SMALLEST_PX = 4  # if all keypoints of a video are nearer to the corner, they are not in pixels


@dataclass(frozen=True)
class Origin:
    """Everything that determines the numbers of a data set; the fingerprint is its hash.

    options: settings that change the numbers, as text: the version of the reader, the kind of keypoints, seeds.
    files: the files that are read; their names and contents count, their folders do not.
    """

    options: Sequence[str]
    files: Sequence[Path] = ()


class Dataset(ABC):
    """One data set, named by an entry point of the group `bench.datasets`. It is built without arguments.

    name: the same as that of the entry point. skeleton: the joints of its 2D and 3D. fps: frames per second.
    keypoints: kind of 2D that a benchmark may request -> name that `describe` and `read` then receive.
    cameras: the views by name; if subjects have different cameras of the same name, override `camera` instead.
    """

    name: ClassVar[str]
    skeleton: ClassVar[Skeleton]
    fps: ClassVar[float]
    keypoints: ClassVar[Mapping[str, str]] = {"gt": "gt"}
    cameras: ClassVar[Mapping[str, View]] = {}

    @abstractmethod
    def describe(self, root: Path, keypoints: str) -> Origin:
        """The origin of the numbers. root: the data folder. It is called often and should read as little as possible.

        Raises MissingDataError, saying how to get the file, if one is missing.
        """

    @abstractmethod
    def read(self, root: Path, keypoints: str) -> Iterable[Video]:
        """Yield every video, in any order; one at a time, so that they need not all be in memory.

        Raises BenchError, naming file, subject and sequence, if the content of a file is invalid.
        """

    def camera(self, subject: str, name: str) -> View:
        """The image size of a camera; a Camera if its calibration is known. Raises BenchError for an unknown name."""
        if name not in self.cameras:
            raise unknown(f"camera in {type(self).__name__}.cameras", name, self.cameras)
        return self.cameras[name]

    # --- how the suite reads a data set

    def fingerprint(self, root: Path, keypoints: str) -> str:
        """The fingerprint: SHA-256 of the origin of the numbers. Raises MissingDataError if a file is missing."""
        origin = self.describe(root, keypoints)
        return archive.fingerprint(origin.options, origin.files)

    def collect(self, root: Path, keypoints: str, fingerprint: str) -> Builder:
        """Every video, checked and converted, to be stored or built.

        Raises BenchError, naming the video, if one is not as `Video` describes it, occurs twice, or has an unknown
        camera; and if there is no video.
        """
        builder = Builder(self.name, keypoints, self.fps, fingerprint, self.skeleton)
        names = set()
        for video in self.read(root, keypoints):
            where = f"{self.name}: {video.subject} {video.sequence!r}, camera {video.camera.name}"
            self._check(where, video)
            if (name := (video.subject, video.sequence, video.camera.name)) in names:
                raise BenchError(
                    f"{where}: read() gives this video twice; each sequence of a subject needs its own name"
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
                expected = f"({frames or 'frames'}, {joints}, {axes}) floating-point numbers"
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
