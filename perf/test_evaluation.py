"""Whole evaluations beside the published style, and whole videos beside their windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.data.windows import test_windows
from bench.evaluation.predictions import predict
from bench.evaluation.scoring import score
from bench.system.progress import silence
from perf import reference, samples

FRAMES = {"toy": 9, "full": 243}
SCALE = {"toy": 0.002, "full": 0.1}  # of the length of Human3.6M's test videos
VIDEO_FRAMES = {"toy": 40, "full": 2000}

# Method, size, hyper-parameters, every how many windows the reference lifts (it would take hours for all of them).
EVALUATIONS = [
    ("videopose3d", "small", {"dim": 96}, 20),
    ("mixste", "small", {"dim": 32, "depth": 2, "heads": 2}, 1),
    pytest.param(("videopose3d", "published", {}, 100), marks=pytest.mark.published),
]

# Method, frames of its published window, reach; windows in a pass of the reference, each with its mirror image: what
# takes it the least time; every how many passes are made.
VIDEOS = [("videopose3d", 243, 6, 16, 10), ("poseformer", 81, 2, 11, 20), ("pstmo", 243, 1.4, 3, 25)]


@pytest.mark.benchmark(group="evaluation")
@pytest.mark.parametrize("case", EVALUATIONS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_evaluation(measure, tmp_path, toy, case):
    name, size, sizes, every = case
    scale = "toy" if toy else "full"
    every = 1 if toy else every
    method = samples.built(name, FRAMES[scale], **sizes)
    path = tmp_path / "test_set.npz"
    samples.save_test_set(path, SCALE[scale])
    dataset = samples.read_test_set(path)
    rows = reference.scored_rows(dataset, method.window, every)

    def ours() -> list[torch.Tensor]:
        dataset = samples.read_test_set(path)
        with silence():
            predictions = predict(method, dataset)
        summary = score(predictions, dataset).summary
        poses = predictions.per_frame(dataset)[rows]
        poses[:, dataset.skeleton.root] = 0
        means = torch.tensor([summary[metric] for metric in reference.SCORED], dtype=torch.float64)
        return [torch.from_numpy(poses), means][: 1 if every > 1 else 2]

    def plain() -> reference.Part:
        part = reference.evaluate(method, path, every)
        return reference.Part(part.result[: 1 if every > 1 else 2], part.seconds)

    videos, frames = len(dataset.sequences), int(dataset.lengths.sum())
    rounds = {"rounds": 1, "warmup": 0} if size == "published" else {"rounds": 2, "warmup": 0}
    measure(
        f"{name}, {size}: {videos} videos, {frames:,} frames, windows of {FRAMES[scale]}",
        ours,
        plain,
        **rounds,
        tolerance=1e-4,
        reach=5,
        title=f"whole evaluation, {name}, {size}",
    )


@pytest.mark.benchmark(group="video")
@pytest.mark.parametrize("size", ["toy", pytest.param("published", marks=pytest.mark.published)])
@pytest.mark.parametrize("case", VIDEOS, ids=lambda case: case[0])
def test_video(measure, toy, case, size):
    name, frames, reach, windows_per_pass, every = case
    if size == "toy" and not toy:
        pytest.skip("the published size says it")
    sizes = {"dim": 16, "depth": 1, "heads": 1} if size == "toy" else {}
    every = 1 if size == "toy" else every
    method = samples.built(name, frames, **sizes)
    dataset = samples.one_video(VIDEO_FRAMES["toy" if size == "toy" else "full"])
    firsts = range(0, len(test_windows(dataset.lengths, method.window)), windows_per_pass)
    rows = np.concatenate([np.arange(first, first + windows_per_pass) for first in firsts[::every]])

    def ours() -> torch.Tensor:
        with silence():
            poses = torch.from_numpy(predict(method, dataset).poses_3d)
        return poses[rows[rows < len(poses)]]

    measure(
        f"{name}, {size}: {len(dataset.poses_3d):,} frames, windows of {frames}",
        ours,
        lambda: reference.lift_windows(method, dataset, windows_per_pass, every),
        rounds=3 if name == "videopose3d" else 1,
        warmup=0,
        tolerance=1e-4,
        reach=reach,
        title=f"a video of {len(dataset.poses_3d):,} frames, {name} {frames}",
    )
