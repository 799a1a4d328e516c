"""Whole training epochs of small models beside the published style, and the peak memory of a batch in parts."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import Method
from bench.config.schema import Recipe
from bench.data.pose_dataset import PoseDataset
from bench.system.progress import silence
from bench.training.loop import Job, fit
from perf import memory, reference, samples

# Method, frames, hyper-parameters, windows in a batch, frames between windows. No dropout: it is drawn differently.
EPOCHS = [
    ("videopose3d", 27, {"dim": 96, "dropout": 0}, 64, 3),
    ("videopose3d", 243, {"dim": 96, "dropout": 0}, 64, 9),
    ("mixste", 27, {"dim": 32, "depth": 2, "heads": 2, "drop_path": 0}, 8, None),
]

# The published depth needs about 43 GiB for 24 windows. The width is the published one: the C library treats tensors of
# other sizes otherwise.
WIDE = {"cpu": {"dim": 512, "depth": 1, "heads": 8}, "cuda": {"dim": 512, "depth": 8, "heads": 8}}
MICRO_BATCH = 4


@pytest.fixture(scope="module")
def dataset(toy) -> PoseDataset:
    return samples.equal_videos(2, 50) if toy else samples.equal_videos(20, 275)


@pytest.mark.benchmark(group="epoch")
@pytest.mark.parametrize("case", EPOCHS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_epoch(measure, dataset, device, case):
    name, frames, sizes, batch_windows, stride = case
    recipe = Recipe(epochs=1, batch_windows=batch_windows, window_stride=stride, learning_rate=1e-5)
    fresh = samples.built(name, frames, **sizes)
    fresh_plain = fresh if name == "videopose3d" else reference.plain(fresh)  # it is published with strides, too
    window = samples.one_video(frames).keypoints_2d[None].to(device)

    def outcome(loss: float, method: Method) -> list[Tensor]:
        """What was learnt: weights without a gradient, such as the bias of attention's keys, follow rounding errors."""
        with torch.inference_mode():
            return [torch.tensor(loss, dtype=torch.float64), method.eval().lift(window).cpu()]

    def ours() -> list[Tensor]:
        method = copy.deepcopy(fresh)
        with tempfile.TemporaryDirectory() as folder, silence():
            job = Job(dataset, None, recipe, seed=0, folder=Path(folder), device=device)
            trained = fit(method, job)
        return outcome(trained.history[0].loss["total"], method)

    def plain() -> list[Tensor]:
        method = copy.deepcopy(fresh_plain).to(device)
        return outcome(reference.train_epoch(method, dataset, recipe, seed=0), method)

    measure(
        f"{name}, windows of {frames} frames, batches of {batch_windows}",
        ours,
        plain,
        rounds=3,
        warmup=0,
        tolerance=1e-3,
        reach=1.5,
        title=f"a training epoch, {name} {frames}, small",
    )


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("size", ["toy", pytest.param("wide", marks=pytest.mark.published)])
def test_peak_of_a_step(benchmark, device, toy, size):
    """The whole batch is the reference of its parts."""
    if size == "toy" and not toy:
        pytest.skip("the wide one says it")
    sizes = {"dim": 16, "depth": 1, "heads": 1} if size == "toy" else WIDE[device.type]
    whole = memory.step_in_a_child(sizes, str(device), micro_batch=None)
    parts = benchmark.pedantic(memory.step_in_a_child, (sizes, str(device)), {"micro_batch": MICRO_BATCH})
    torch.testing.assert_close(parts["loss"], whole["loss"], atol=0, rtol=1e-5)
    benchmark.extra_info.update(
        case=f"{sizes['dim']} channels, {sizes['depth']} levels: {memory.BATCH} windows, {MICRO_BATCH} at once",
        title=f"peak memory, diff3dhpe {sizes['dim']} x {sizes['depth']}, {MICRO_BATCH} of {memory.BATCH} windows",
        ratio=whole["peak_bytes"] / parts["peak_bytes"],
        reach=4,
        ours_step_bytes=parts["peak_bytes"],
        reference_step_bytes=whole["peak_bytes"],
    )
