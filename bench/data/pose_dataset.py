"""PoseDataset: all videos of a data set in contiguous float32 blocks, and a table of where each one starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.geometry.camera import View, normalise_screen
from bench.geometry.skeleton import H36M_17, Skeleton, counterparts
from bench.system.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor

SEQUENCE_COLUMNS = ("subject", "action", "sequence", "camera", "start", "frames")
BLOCKS = ("keypoints_2d", "poses_3d", "roots", "valid", "activities")


@dataclass(frozen=True)
class PoseDataset:
    """Videos of one data set, sorted by (subject, sequence, camera).

    sequences: one row per video: subject, action, sequence (its name within the subject), camera, start, frames;
        the video's frames are rows start .. start + frames of the blocks below.
    keypoints_2d: (total, joints, 2) normalised screen coordinates.
    poses_3d: (total, joints, 3) metres, camera axes, root-relative; the root's row is zero.
    roots: (total, 3) metres, camera axes: where the root was, for drawing and reprojection.
    fingerprint: SHA-256 of what the numbers were made from (source files, options, reader version).
    valid: (total,) which frames are scored; the others are context only. None: all.
    activities: (total,) uint8, the activity of each frame, its number in the data set's list, 0: none of them. None:
    unknown.
    extent: metres, the largest absolute root-relative coordinate in the source files, over all their subjects and
    joints; None: not known.
    scored: which joints are scored; None: all.
    """

    name: str
    keypoints: str
    fps: float
    skeleton: Skeleton
    sequences: pd.DataFrame
    keypoints_2d: Tensor
    poses_3d: Tensor
    roots: Tensor
    fingerprint: str
    valid: Tensor | None = None
    activities: Tensor | None = None
    extent: float | None = None
    scored: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        import torch  # only where there are tensors: the fingerprint of a data set needs none

        missing = [column for column in SEQUENCE_COLUMNS if column not in self.sequences]
        if missing:
            raise ValueError(f"{self.name}: the table of sequences lacks {', '.join(missing)}")
        if (self.sequences["frames"] < 1).any():
            raise ValueError(f"{self.name}: a sequence without frames")
        total, joints = int(self.sequences["frames"].sum()), len(self.skeleton)
        for label, block, shape in (
            ("keypoints_2d", self.keypoints_2d, (total, joints, 2)),
            ("poses_3d", self.poses_3d, (total, joints, 3)),
            ("roots", self.roots, (total, 3)),
        ):
            if tuple(block.shape) != shape or block.dtype != torch.float32:
                raise ValueError(f"{self.name}: {label} is {tuple(block.shape)} {block.dtype}, not {shape} float32")
        for label, column, kind in (("valid", self.valid, torch.bool), ("activities", self.activities, torch.uint8)):
            if column is not None and (tuple(column.shape) != (total,) or column.dtype != kind):
                raise ValueError(f"{self.name}: {label} is {tuple(column.shape)} {column.dtype}, not {(total,)} {kind}")

    def pieces(self, block: str) -> list[NDArray[Any]]:
        """A block as a list of arrays in the order of `sequences`: a single one here, none if the block is None."""
        whole: Tensor | None = getattr(self, block)
        return [] if whole is None else [whole.numpy()]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each video, in table order."""
        return self.sequences["frames"].to_numpy(np.int64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each video in the blocks, in table order."""
        return self.sequences["start"].to_numpy(np.int64)

    @property
    def counted(self) -> NDArray[np.int64]:
        """Rows of the blocks whose frames are scored, ascending."""
        if self.valid is None:
            return np.arange(len(self.poses_3d), dtype=np.int64)
        return np.flatnonzero(self.valid.numpy()).astype(np.int64)

    def subset(self, subjects: Iterable[str]) -> PoseDataset:
        """A data set of the videos of some subjects, without the others.

        Raises BenchError if a subject is not in the data set.
        """
        wanted = list(subjects)
        known = list(dict.fromkeys(self.sequences["subject"]))
        for subject in wanted:
            if subject not in known:
                raise BenchError(
                    f"{self.name}: no subject {subject!r}; the data hold {', '.join(known)}. Get the rest, or "
                    "state others: --set protocol.train_subjects=[...] --set protocol.test_subjects=[...]"
                )
        rows = self.sequences[self.sequences["subject"].isin(wanted)].reset_index(drop=True)
        starts, lengths = rows["start"].to_numpy(np.int64), rows["frames"].to_numpy(np.int64)
        rows["start"] = offsets(lengths)
        import torch

        def cut(block: Tensor) -> Tensor:
            if len(starts) and (starts[1:] == (starts + lengths)[:-1]).all():
                return block[starts[0] : starts[-1] + lengths[-1]]  # neighbours: a view, no copy
            pieces = [block[start : start + frames] for start, frames in zip(starts, lengths, strict=True)]
            return torch.cat(pieces) if pieces else block[:0]

        return PoseDataset(
            name=self.name,
            keypoints=self.keypoints,
            fps=self.fps,
            skeleton=self.skeleton,
            sequences=rows,
            keypoints_2d=cut(self.keypoints_2d),
            poses_3d=cut(self.poses_3d),
            roots=cut(self.roots),
            fingerprint=self.fingerprint,
            valid=None if self.valid is None else cut(self.valid),
            activities=None if self.activities is None else cut(self.activities),
            extent=self.extent,
            scored=self.scored,
        )

    def in_joints_of(self, skeleton: Skeleton) -> PoseDataset:
        """The same videos in the joints of another skeleton, in its order, 2D and 3D.

        A joint that the data lack is replaced by the nearest one, and is not scored. Raises ValueError as
        `bench.geometry.skeleton.counterparts`.
        """
        if skeleton == self.skeleton:
            return self
        joints, same = counterparts(skeleton, self.skeleton)
        keypoints_2d, poses_3d = self.keypoints_2d[:, list(joints)], self.poses_3d[:, list(joints)]
        return replace(self, skeleton=skeleton, keypoints_2d=keypoints_2d, poses_3d=poses_3d, scored=same)


@dataclass(frozen=True)
class Video:
    """One view of one sequence, as a data set's `read` yields it.

    keypoints_px: (frames, joints, 2) pixels. poses_camera: (frames, joints, 3) metres, camera axes, absolute.
    valid: (frames,), which frames are scored; None: all. activities: (frames,) numbers, 0: none; None: 0 everywhere.
    extent: metres, the largest root-relative coordinate in the source, of any joint, kept or not; None: unknown.
    """

    subject: str
    action: str
    sequence: str
    camera: View
    keypoints_px: NDArray[np.floating[Any]]
    poses_camera: NDArray[np.floating[Any]]
    valid: NDArray[np.bool_] | None = None
    activities: NDArray[np.uint8] | None = None
    extent: float | None = None


@dataclass(frozen=True, eq=False)
class _Converted:
    """One video as the blocks of a PoseDataset hold it. row: subject, action, sequence, camera."""

    row: tuple[str, str, str, str]
    keypoints_2d: NDArray[np.float32]
    poses_3d: NDArray[np.float32]
    roots: NDArray[np.float32]
    valid: NDArray[np.bool_] | None
    activities: NDArray[np.uint8] | None


@dataclass
class Builder:
    """Collects videos and builds a PoseDataset; the one place for root subtraction and normalisation.

    A video is converted as it is added, so that its source need not stay in memory.
    """

    name: str
    keypoints: str
    fps: float
    fingerprint: str
    skeleton: Skeleton = H36M_17
    extent: float | None = None
    videos: list[_Converted] = field(default_factory=list)

    def add(self, video: Video) -> None:
        root, absolute = self.skeleton.root, video.poses_camera
        size = video.camera.width, video.camera.height
        converted = _Converted(
            row=(video.subject, video.action, video.sequence, video.camera.name),
            keypoints_2d=normalise_screen(video.keypoints_px, *size).astype(np.float32, copy=False),
            poses_3d=(absolute - absolute[:, root : root + 1]).astype(np.float32, copy=False),
            roots=absolute[:, root].astype(np.float32),
            valid=video.valid,
            activities=video.activities,
        )
        self.videos.append(converted)
        if video.extent is not None:
            self.extent = max(self.extent or 0.0, video.extent)

    @property
    def sequences(self) -> pd.DataFrame:
        """The table of a PoseDataset."""
        videos = self._ordered()
        lengths = [len(video.poses_3d) for video in videos]
        starts = offsets(lengths).tolist()
        rows = [(*video.row, *where) for video, *where in zip(videos, starts, lengths, strict=True)]
        return pd.DataFrame(rows, columns=list(SEQUENCE_COLUMNS))

    def pieces(self, block: str) -> list[NDArray[Any]]:
        """The part of each video in a block, in the order of `sequences`; empty if no video has any."""
        parts = [(getattr(video, block), len(video.poses_3d)) for video in self._ordered()]
        if all(part is None for part, _ in parts):
            return []
        filler = {"valid": np.bool_(True), "activities": np.uint8(0)}.get(block)  # of videos without the block
        return [np.full(frames, filler) if part is None else part for part, frames in parts]

    def _ordered(self) -> list[_Converted]:
        """The videos by subject, sequence and camera."""
        return sorted(self.videos, key=lambda video: (subject_order(video.row[0]), video.row[2:]))

    def build(self) -> PoseDataset:
        """The data set in memory. The list of videos is emptied."""
        import torch

        sequences = self.sequences
        blocks: dict[str, Any] = {
            block: torch.from_numpy(np.concatenate(pieces)) for block in BLOCKS if (pieces := self.pieces(block))
        }
        self.videos.clear()
        return PoseDataset(
            name=self.name,
            keypoints=self.keypoints,
            fps=self.fps,
            skeleton=self.skeleton,
            sequences=sequences,
            fingerprint=self.fingerprint,
            extent=self.extent,
            **blocks,
        )


def offsets(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """The start of each piece if pieces of these lengths are concatenated."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))[:-1]]).astype(np.int64)[: len(lengths)]


def subject_order(subject: str) -> tuple[str, int, str]:
    """Sort key that puts S9 before S11: letters first, then the number as a number."""
    digits = "".join(character for character in subject if character.isdigit())
    letters = "".join(character for character in subject if not character.isdigit())
    return letters, int(digits or 0), subject
