"""What `bench draw` shows: videos of a test set, and the predictions of each method for them.

Predictions come from finished runs or from a file of weights; nothing is trained for a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench import metrics
from bench.config.schema import Benchmark
from bench.data.pose_dataset import PoseDataset
from bench.data.split import Split, load_testing
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scores import MM
from bench.method.base import Method
from bench.runs.own_video import Lifter, load_lifter
from bench.runs.plan import Run, chosen_methods, plan, published_weights
from bench.show.draw.scene import Array, Scene
from bench.system.device import choose_device, threads_for
from bench.system.errors import BenchError, unknown

Frame = int | Literal["median", "worst"]


@dataclass(frozen=True)
class Choice:
    """A selection of the videos of a test set; None: any."""

    subject: str | None = None
    action: str | None = None
    sequence: str | None = None
    camera: str | None = None

    def rows(self, dataset: PoseDataset) -> list[int]:
        """The videos that fit, as rows of the table. Raises BenchError, with the known names, if none does."""
        found = dataset.sequences
        for column in ("subject", "action", "sequence", "camera"):
            wanted, known = getattr(self, column), found[column].astype(str).unique().tolist()
            if wanted is not None and wanted not in known:
                raise unknown(f"{column} among the matching test videos", wanted, known)
            if wanted is not None:
                found = found[found[column].astype(str) == wanted]
        return [int(row) for row in found.index]


@dataclass(frozen=True)
class Answer:
    """One method's predictions for a test set. poses_3d: (total, joints, 3) metres, root zero, NaN where not lifted.

    errors: (total,) MPJPE in mm, NaN likewise. load: builds the method with its weights.
    """

    poses_3d: Array
    errors: Array
    load: Callable[[], Method]


@dataclass(frozen=True)
class Gallery:
    """The test set of a benchmark, the chosen videos (`rows`), and each method's predictions, by name."""

    testing: PoseDataset
    rows: Sequence[int]
    answers: Mapping[str, Answer]
    seed: int

    def scene(self, row: int) -> Scene:
        """One video of the test set."""
        dataset, part = self.testing, _part(self.testing, row)
        about = dataset.sequences.iloc[row]
        where = about["subject"] if about["subject"] == about["sequence"] else f"{about['subject']} {about['sequence']}"
        return Scene(
            title=f"{dataset.name}, {where}, camera {about['camera']}",
            fps=dataset.fps,
            skeleton=dataset.skeleton,
            skeleton_2d=dataset.skeleton,
            keypoints_2d=dataset.keypoints_2d[part].numpy(),
            predictions={label: answer.poses_3d[part] for label, answer in self.answers.items()},
            truth=dataset.poses_3d[part].numpy(),
            errors={label: answer.errors[part] for label, answer in self.answers.items()},
            scored=dataset.scored,
        )

    def find(self, frame: Frame) -> tuple[int, int]:
        """A video (its row) and one of its frames, with the median or the largest error of the first method.

        A number is a frame of the first video. Raises BenchError for a frame that does not exist or is not scored.
        """
        errors = next(iter(self.answers.values())).errors
        if isinstance(frame, int):
            row = self.rows[0]
            found = errors[_part(self.testing, row)]
            if frame >= len(found):
                raise BenchError(f"there is no frame {frame}: the video has {len(found)}, numbered from 0")
            if np.isnan(found[frame]):
                raise BenchError(f"frame {frame} is not scored: no method has lifted it")
            return row, frame
        rows = np.concatenate([np.r_[_part(self.testing, row)] for row in self.rows])
        rows = rows[np.isfinite(errors[rows])]
        if not len(rows):
            raise BenchError("no frame of the chosen video is scored: there is nothing to draw")
        order = rows[errors[rows].argsort(kind="stable")]
        chosen = int(order[-1] if frame == "worst" else order[len(order) // 2])
        row = int(np.searchsorted(self.testing.starts, chosen, side="right")) - 1
        return row, chosen - int(self.testing.starts[row])

    def video(self, row: int) -> PoseDataset:
        """One video as a data set of its own."""
        return one_video(self.testing, row)


def load_gallery(
    benchmark: Benchmark,
    methods: Sequence[str],
    choice: Choice,
    *,
    seed: int = 0,
    data: str | Path | None = None,
    weights: Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> Gallery:
    """The predictions of finished runs; or, with a file of weights, of its method, lifted now.

    methods: keys in the benchmark. weights, hyperparameters: as `load_lifter`; only the first of the chosen
    videos is lifted. Raises BenchError if a run has no predictions, or no video fits the choice.
    """
    chosen = chosen_methods(benchmark, methods)
    if weights is not None:
        if len(chosen) != 1:
            raise BenchError(f"a checkpoint holds one method; {len(chosen)} are named: {', '.join(chosen)}")
        (name,) = chosen
        testing = load_testing(benchmark.protocol, data)
        row = choice.rows(testing)[0]
        lifter = load_lifter(weights, benchmark.registered(name), hyperparameters)
        answer = _lifted(lifter, testing, row, benchmark.protocol.flip_test, seed, device)
        return Gallery(testing, [row], {name: answer}, seed)
    split = Split.load(benchmark.protocol, data)
    rows = choice.rows(split.testing)
    runs = {
        run.method: run for run in plan(benchmark, split, methods, [seed], published_weights(benchmark, chosen, {}))
    }
    answers = {name: _predicted(runs[name], split.testing) for name in methods}  # in the user's order
    return Gallery(split.testing, rows, answers, seed)


def one_video(dataset: PoseDataset, row: int) -> PoseDataset:
    """One video as a data set of its own."""
    part = _part(dataset, row)
    return replace(
        dataset,
        sequences=dataset.sequences.iloc[[row]].reset_index(drop=True).assign(start=0),
        keypoints_2d=dataset.keypoints_2d[part],
        poses_3d=dataset.poses_3d[part],
        roots=dataset.roots[part],
        valid=None if dataset.valid is None else dataset.valid[part],
        activities=None if dataset.activities is None else dataset.activities[part],
    )


def frame_errors(predicted: Array, dataset: PoseDataset) -> Array:
    """MPJPE per frame in mm over the scored joints. predicted: (total, joints, 3), root zero. Returns (total,)."""
    joints = slice(None) if dataset.scored is None else list(dataset.scored)
    errors: Array = MM * metrics.mpjpe(predicted[:, joints], dataset.poses_3d[:, joints], reduce="none").numpy()
    return errors


def _part(dataset: PoseDataset, row: int) -> slice:
    """The frames of a video in the arrays of a data set."""
    start = int(dataset.starts[row])
    return slice(start, start + int(dataset.lengths[row]))


def _answer(poses_3d: Array, dataset: PoseDataset, load: Callable[[], Method]) -> Answer:
    poses_3d[:, dataset.skeleton.root] *= 0  # as when it is scored; NaN stays
    return Answer(poses_3d, frame_errors(poses_3d, dataset), load)


def _predicted(run: Run, testing: PoseDataset) -> Answer:
    """The predictions of a finished run."""
    predictions = Predictions.load(run.kept_predictions())
    return _answer(predictions.per_frame(testing), testing, lambda: run.trained(len(testing.skeleton)))


def _lifted(lifter: Lifter, testing: PoseDataset, row: int, flip: bool, seed: int, device: str) -> Answer:
    """Predictions for one video, lifted now."""
    if lifter.seen != testing.skeleton:
        raise BenchError(f"the weights lift {lifter.seen.name}, the benchmark has {testing.skeleton.name}")
    video, where = one_video(testing, row), choose_device(device)
    with threads_for(lifter.method.parameter_count, where):
        found = predict(lifter.method.to(where), video, flip=flip, seed=seed, device=where, label="lift")
    poses_3d = np.full(testing.poses_3d.shape, np.nan, np.float32)
    poses_3d[_part(testing, row)] = found.per_frame(video)
    return _answer(poses_3d, testing, lambda: lifter.method)
