"""How our time grows with frames, batch, width and the number of videos. There is no reference: see `perf.growth`.

Moderate sizes with 64 channels per head, as published ones have, one window of 81 frames where nothing else is said.
"""

from __future__ import annotations

import pytest
import torch

import bench
from bench.evaluation.predictions import predict
from bench.system.progress import silence
from perf import samples
from perf.test_methods import JOINTS

METHODS = ("diff3dhpe", "mixste", "poseformer", "pstmo", "videopose3d")
SIZES = {
    "diff3dhpe": {"dim": 128, "depth": 4, "heads": 2, "sampling_steps": 1},
    "mixste": {"dim": 128, "depth": 4, "heads": 2},
    "poseformer": {"dim": 32, "depth": 4, "heads": 8},
    "pstmo": {"dim": 128, "depth": 3, "heads": 2},
    "videopose3d": {"dim": 512},
}
FRAMES = (27, 81, 243, 351)
BATCHES = (1, 2, 4, 8, 16)
WIDTHS = (64, 128, 256, 512)
VIDEOS = (4, 8, 16, 32)
ROUNDS = 5


def built(name: str, frames: int, **changed: int) -> bench.Method:
    widths = {"widths": [3, 3, 3, 13]} if name == "videopose3d" and frames == 351 else {}  # not a power of 3
    return samples.built(name, frames, **SIZES[name] | widths | changed)


@pytest.fixture
def lifting(measure, device, toy):
    """lifting(name, axis, at, windows, sizes) measures one pass of a batch. In a toy run only the smallest networks."""

    def run(name: str, axis: str, at: int, *, frames: int = 81, windows: int = 1, **changed: int) -> None:
        if toy and (axis != "windows" or name != "videopose3d"):
            pytest.skip("the growth of one is enough of a toy")
        method = built(name, frames, **changed).to(device)
        source = torch.Generator().manual_seed(1)
        keypoints_2d = torch.randn(windows, method.window.frames, JOINTS, 2, generator=source).to(device)

        def lift() -> None:
            with torch.inference_mode():
                method.lift(keypoints_2d, generator=torch.Generator().manual_seed(0))

        measure(f"{name}, {at} {axis}", lift, None, rounds=ROUNDS, series=name, axis=axis, at=at)

    return run


@pytest.mark.benchmark(group="growth")
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("name", METHODS)
def test_frames(lifting, name, frames):
    lifting(name, "frames", frames, frames=frames)


@pytest.mark.benchmark(group="growth")
@pytest.mark.parametrize("windows", BATCHES)
@pytest.mark.parametrize("name", METHODS)
def test_batch(lifting, name, windows):
    lifting(name, "windows", windows, windows=windows)


@pytest.mark.benchmark(group="growth")
@pytest.mark.parametrize("dim", WIDTHS)
@pytest.mark.parametrize("name", ["diff3dhpe", "mixste", "pstmo", "videopose3d"])
def test_width(lifting, name, dim):
    heads = {} if name == "videopose3d" else {"heads": dim // 64}
    lifting(name, "channels", dim, dim=dim, **heads)


@pytest.mark.benchmark(group="growth")
@pytest.mark.parametrize("videos", VIDEOS)
@pytest.mark.parametrize("name", ["mixste", "videopose3d"])
def test_number_of_videos(measure, name, videos, toy):
    """A whole evaluation without its scores, of videos of 300 frames; small networks."""
    if toy and name == "mixste":
        pytest.skip("the growth of one is enough of a toy")
    sizes = {"dim": 32, "depth": 2, "heads": 2} if name == "mixste" else {"dim": 96}
    method = samples.built(name, 81, **sizes)
    dataset = samples.equal_videos(videos, 30 if toy else 300)

    def lift() -> None:
        with silence():
            predict(method, dataset)

    measure(f"{name}, {videos} videos", lift, None, rounds=ROUNDS, series=name, axis="videos", at=videos)
