"""What the folders of finished runs add to their records: training curves, and everything per frame."""

from __future__ import annotations

import base64
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.schema import Benchmark
from bench.data import kind_of
from bench.data.files import archive
from bench.data.pose_dataset import PoseDataset
from bench.data.split import load_testing, testing_part
from bench.evaluation.predictions import Predictions
from bench.evaluation.scores import MM
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.method import checkpoint
from bench.metrics import AUC_THRESHOLDS_MM, MPI_INF_3DHP_JOINTS, joint_errors
from bench.results.records import Record
from bench.system import paths
from bench.system.errors import BenchError

THRESHOLDS_MM = np.arange(151)
CLIPS = {"easiest": 0.0, "easy": 0.25, "median": 0.5, "hard": 0.75, "hardest": 1.0}  # quantile of the test videos
CLIP_FRAMES, CLIP_FPS = 240, 25
SCREEN = 10_000  # steps of a normalised screen coordinate
MISSING = -32768  # a coordinate of a frame that is not scored


@dataclass(frozen=True)
class Runs:
    """The runs behind the rows of a benchmark.

    folders: of each record that left one, by row and seed. lifted: None without predictions, or without the data that
    they are for. problems: messages on what could not be used, without paths of this machine.
    """

    folders: Mapping[tuple[str, int], Path]
    lifted: Lifted | None = None
    problems: list[str] = field(default_factory=list)

    def courses(self) -> list[dict[str, Any]]:
        """Loss and validation error of every epoch of every run that was trained here."""
        found = []
        for (row, seed), folder in self.folders.items():
            if not (folder / "last.pt").is_file():
                continue
            try:
                history = checkpoint.load(folder / "last.pt", lazily=True)["history"]
            except (BenchError, KeyError) as error:
                reason = "it has no history" if isinstance(error, KeyError) else "it cannot be read"
                self.problems.append(f"the checkpoint of {folder.name} is not used: {reason}")
                continue
            loss = [_short(epoch["loss"]["total"], 6) for epoch in history]
            validation = [_short(epoch["validation_mpjpe_mm"], 4) for epoch in history]
            found.append({"row": row, "seed": seed, "loss": loss, "validation": validation})
        return found


@dataclass(frozen=True)
class Lifted:
    """Predictions of one test set.

    predicted: the file of one seed of each row. problems: receives messages on what could not be used.
    """

    testing: PoseDataset
    predicted: Mapping[str, Path]
    problems: list[str]

    def pck(self) -> dict[str, Any] | None:
        """Percent of joints with an error below each threshold, pooled over all scored frames, and the area below.

        Of MPI-INF-3DHP the 14 joints that its own PCK counts; of others every scored joint but the root, which is zero
        by definition.
        """
        if not self.errors:
            return None
        counted = _pck_joints(self.testing)
        curves = {}
        for row, errors in self.errors.items():
            pooled = np.sort(errors[:, counted], axis=None)
            below = 100 * np.searchsorted(pooled, THRESHOLDS_MM, side="left") / len(pooled)
            area = below[[int(threshold) for threshold in AUC_THRESHOLDS_MM]].mean()
            curves[row] = {"pck": np.round(below, 2).tolist(), "auc": round(float(area), 2)}
        joints = [self.testing.skeleton.joints[joint] for joint in _scored(self.testing)]
        return {"joints": [joints[joint] for joint in counted], "curves": curves}

    def viewer(self, budget: int) -> dict[str, Any] | None:
        """A few test videos, or parts of them, with the predictions of every row. budget: bytes of base64 in all."""
        if not self.errors:
            return None
        testing, step = self.testing, max(1, round(self.testing.fps / CLIP_FPS))
        bytes_per_frame = (len(self.errors) + 1) * 3 * 2 * len(testing.skeleton) + 2 * 2 * len(testing.skeleton)
        longest = min(CLIP_FRAMES, int(budget * 3 / 4 / len(CLIPS) / (bytes_per_frame + 4 * len(self.errors))))
        rows = {name: self._rows(video, step, longest) for name, video in self._videos().items()}
        clips: dict[str, dict[str, Any]] = {name: self._clip(name, *chosen) for name, chosen in rows.items()}
        frame_errors = {row: self._by_frame(errors) for row, errors in self.errors.items()}
        for row, file in self.predicted.items():
            if row in self.errors:
                poses = _rooted(Predictions.load(file).per_frame(testing), testing)
                for name, (_, chosen) in rows.items():
                    clips[name]["poses"][row] = _packed(poses[chosen] * MM)
                    clips[name]["errors"][row] = [_short(one, 4) for one in frame_errors[row][chosen].tolist()]
        return {"fps": testing.fps / step, "screen": SCREEN, "missing": MISSING, "clips": list(clips.values())}

    @cached_property
    def errors(self) -> dict[str, NDArray[np.float32]]:
        """(scored frames, scored joints) mm, for each row that has predictions of this test set."""
        found: dict[str, NDArray[np.float32]] = {}
        scored, counted = list(_scored(self.testing)), self.testing.counted
        target = self.testing.poses_3d[torch.from_numpy(counted)][:, scored]
        for row, file in self.predicted.items():
            try:
                poses = _rooted(Predictions.load(file).per_frame(self.testing), self.testing)
            except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
                reason = type(error).__name__ if isinstance(error, OSError) else error  # its text contains paths
                self.problems.append(f"the predictions of {file.parent.name} are not used: {reason}")
                continue
            predicted = torch.from_numpy(poses[counted][:, scored])
            found[row] = (joint_errors(predicted, target) * MM).numpy()
        return found

    def _by_frame(self, errors: NDArray[np.float32]) -> NDArray[np.float64]:
        """(frames of the test set,) mm, mean over joints; NaN for frames that are not scored."""
        by_frame = np.full(len(self.testing.poses_3d), np.nan)
        by_frame[self.testing.counted] = errors.mean(axis=1, dtype=np.float64)
        return by_frame

    @cached_property
    def _typical(self) -> NDArray[np.float64]:
        """(frames,) mm: how hard each frame is, the median of the rows."""
        return np.median([self._by_frame(errors) for errors in self.errors.values()], axis=0)

    def _videos(self) -> dict[str, int]:
        """The video chosen for each of CLIPS, by its mean error; a small test set has fewer."""
        bounds = zip(self.testing.starts, self.testing.starts + self.testing.lengths, strict=True)
        pieces = [self._typical[start:end] for start, end in bounds]
        means = np.array([piece[~np.isnan(piece)].mean() if (~np.isnan(piece)).any() else np.nan for piece in pieces])
        order = np.argsort(means, kind="stable")[: int((~np.isnan(means)).sum())]
        chosen = {int(order[round(at * (len(order) - 1))]): name for name, at in reversed(CLIPS.items())}
        return {name: video for video, name in reversed(chosen.items())}

    def _rows(self, video: int, step: int, longest: int) -> tuple[int, NDArray[np.int64]]:
        """The frames of a clip, as rows of the blocks: all of the video, or what lies around its hardest frame."""
        start, frames = int(self.testing.starts[video]), int(self.testing.lengths[video])
        span = longest * step
        hardest = int(np.nanargmax(self._typical[start : start + frames]))
        first = 0 if frames <= span else min(max(0, hardest - span // 2), frames - span)
        return video, start + np.arange(first, min(frames, first + span), step)

    def _clip(self, name: str, video: int, chosen: NDArray[np.int64]) -> dict[str, Any]:
        about = self.testing.sequences.iloc[video]
        rows = torch.from_numpy(chosen)
        typical = self._typical[int(about["start"]) : int(about["start"] + about["frames"])]
        return {
            "name": name,
            **{key: str(about[key]) for key in ("subject", "action", "sequence", "camera")},
            "of": int(about["frames"]),
            "first": int(chosen[0] - about["start"]),
            "step": int(chosen[1] - chosen[0]) if len(chosen) > 1 else 1,
            "frames": len(chosen),
            "typical": _short(float(np.nanmean(typical)), 4),
            "input": _packed(self.testing.keypoints_2d[rows].numpy() * SCREEN),
            "truth": _packed(self.testing.poses_3d[rows].numpy() * MM),
            "poses": {},
            "errors": {},
        }


def found_runs(benchmark: Benchmark, by_row: Mapping[str, Sequence[Record]], data: str | Path | None = None) -> Runs:
    """The run folders behind some records. by_row: the records of each row. data: as `Split.load`.

    Predictions can only be shown with the data they are for; if these are missing, `problems` says so.
    """
    folders = {
        (row, one.seed): folder
        for row, records in by_row.items()
        for one in records
        if (folder := paths.cache() / "runs" / benchmark.name / one.path.stem).is_dir()
    }
    with_predictions = [
        (row, one)
        for row, records in by_row.items()
        for one in records
        if (row, one.seed) in folders and (folders[row, one.seed] / "predictions.npz").is_file()
    ]
    fingerprints = Counter(one.provenance.data_fingerprint for _, one in with_predictions)
    fingerprint = next(iter(dict(fingerprints.most_common(1))), "")
    predicted: dict[str, Path] = {}
    for row, one in with_predictions:
        if one.provenance.data_fingerprint == fingerprint:
            predicted.setdefault(row, folders[row, one.seed] / "predictions.npz")
    if not predicted:
        return Runs(folders)
    try:
        testing = _testing(benchmark, fingerprint, data)
    except BenchError:  # its text contains paths
        name = benchmark.protocol.tested_on.dataset
        return Runs(
            folders,
            problems=[
                f"predictions are there, but not the {name} data they are for: name their folder with "
                f"make report DATA=/some/folder; make data-{name} says what is in it"
            ],
        )
    problems: list[str] = []
    return Runs(folders, Lifted(testing, predicted, problems), problems)


def _testing(benchmark: Benchmark, fingerprint: str, data: str | Path | None) -> PoseDataset:
    """The test part of the data with this fingerprint, from the cache or else from their files.

    Raises BenchError if they are missing or have another fingerprint.
    """
    source = benchmark.protocol.tested_on
    kind = kind_of(source.dataset, source.keypoints)
    folder = paths.cache() / "data" / f"{source.dataset}-{kind}-{fingerprint[:16]}"
    if archive.is_cached(folder):
        return testing_part(benchmark.protocol, archive.memory_mapped(folder))
    testing = load_testing(benchmark.protocol, data)
    if testing.fingerprint != fingerprint:
        raise BenchError(f"the files of {source.dataset} are not those that the runs were tested on")
    return testing


def _scored(testing: PoseDataset) -> tuple[int, ...]:
    return testing.scored or tuple(range(len(testing.skeleton)))


def _pck_joints(testing: PoseDataset) -> list[int]:
    """Columns of the errors that a PCK curve counts."""
    if testing.skeleton == MPI_INF_3DHP_17 and testing.scored is None:
        return list(MPI_INF_3DHP_JOINTS)
    return [column for column, joint in enumerate(_scored(testing)) if joint != testing.skeleton.root]


def _rooted(poses: NDArray[np.float32], testing: PoseDataset) -> NDArray[np.float32]:
    """With the predicted root at zero, as accounting `shared` has it."""
    poses[:, testing.skeleton.root] = 0
    return poses


def _packed(values: NDArray[Any]) -> str:
    """Base64 of little-endian 16-bit numbers, MISSING where there is none."""
    whole = np.where(np.isnan(values), MISSING, np.clip(np.round(values), -32767, 32767))
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


def _short(value: float | None, digits: int) -> float | None:
    """A few significant digits; None for NaN, infinity and None."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.{digits}g}")
