"""Every registered method that learns: lifting, one pass of a denoiser, one step of training.

Both forms run in evaluation mode, because stochastic depth, dropout and batch statistics depend on what a form
computes. A step of training has a learning rate of 0: every round then does the same work on the same weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import bench
from bench import Batch, Method
from bench.method.registry import method_class
from perf import reference
from perf.memory import held_for_backward

TOY = {"frames": 27, "dim": 32, "depth": 2, "heads": 2}
JOINTS = 17
BATCH = {"toy": 8, "published": 1}


def learning() -> list[str]:
    """Methods that are trained, and under `method.stage` what is trained before them."""
    names = []
    for name in bench.methods():
        cls = method_class(name)
        names += [name, *(f"{name}.{stage}" for stage in cls.stages)] if cls.trainable else []
    return names


def new(name: str, **sizes: int) -> Method:
    """A method or stage by its name in `learning()`, in evaluation mode, always with the same weights."""
    name, _, stage = name.partition(".")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = bench.build(name, joints=JOINTS, **sizes)
        return (method.stage(stage) if stage else method).eval()


def published_frames(name: str) -> int:
    """The window of a method or stage at its published size."""
    frames: int = inspect.signature(method_class(name.partition(".")[0])).parameters["frames"].default
    return frames


@dataclass
class Case:
    """A method or stage at one size, its reference, and a batch for both."""

    name: str
    size: str
    ours: Method
    reference: Method
    batch: Batch

    def measure(self, measure: Callable[..., None], call: Callable[[Any], Any], seldom: int = 2, **notes: int) -> None:
        """call: what is measured of a method. seldom: rounds of one that takes seconds."""
        title = f"{self.name}, {self.size}: {len(self.batch)} x {self.batch.poses_3d.shape[1]} frames"
        heavy = self.ours.parameter_count > 20e6  # seconds per pass
        rounds = {"rounds": seldom, "warmup": 0} if heavy else {"rounds": 20, "warmup": 2}
        measure(title, lambda: call(self.ours), lambda: call(self.reference), **rounds, tolerance=1e-3, **notes)


CASES = [
    pytest.param((name, size), id=f"{name}-{size}", marks=[pytest.mark.published] if size == "published" else [])
    for name in learning()
    for size in ("toy", "published")
]


@pytest.fixture(scope="module", params=CASES)
def case(request, device) -> Case:
    name, size = request.param
    sizes = TOY if size == "toy" else {"frames": published_frames(name)}
    ours = new(name, **sizes).to(device)
    windows, frames = BATCH[size], sizes["frames"]
    source = torch.Generator().manual_seed(1)
    poses_3d = torch.randn(windows, frames, JOINTS, 3, generator=source) * 0.3
    poses_3d -= poses_3d[..., :1, :]
    batch = Batch(poses_3d[..., :2] / (poses_3d[..., 2:] + 4), poses_3d).to(device)
    return Case(name, size, ours, reference.plain(ours), batch)


@pytest.mark.benchmark(group="lift")
def test_lift(case, measure):
    if "." in case.name:
        pytest.skip("a stage is trained, and does not lift")
    if case.size == "published" and hasattr(case.ours, "denoiser"):
        pytest.skip("one pass of its denoiser says it in a fifth of the time")

    def lift(method: Method) -> Tensor:
        sources = [torch.Generator().manual_seed(row) for row in range(len(case.batch))]
        with torch.inference_mode():
            return method.lift(case.batch.keypoints_2d, generator=sources)

    case.measure(measure, lift)


@pytest.mark.benchmark(group="denoise")
def test_one_pass_of_the_denoiser(case, measure):
    if not hasattr(case.ours, "denoiser"):
        pytest.skip("it does not denoise")
    timesteps = torch.full((len(case.batch),), 500, device=case.batch.poses_3d.device)

    def denoise(method: Any) -> Tensor:
        with torch.inference_mode():
            return method.denoiser(case.batch.keypoints_2d, case.batch.poses_3d, timesteps)

    case.measure(measure, denoise)


@pytest.mark.benchmark(group="train")
def test_one_step_of_training(case, measure):
    optimizers = {
        case.ours: torch.optim.AdamW(case.ours.parameters(), lr=0, fused=True),  # as bench.training.loop has it
        case.reference: torch.optim.AdamW(case.reference.parameters(), lr=0),
    }

    def loss(method: Method) -> Tensor:
        return method.loss(case.batch, torch.Generator().manual_seed(2))["total"]

    def step(method: Method) -> Tensor:
        total = loss(method)
        optimizers[method].zero_grad(set_to_none=True)
        total.backward()
        optimizers[method].step()
        return total.detach()

    held = {form: held_for_backward(loss, getattr(case, form)) for form in ("ours", "reference")}
    case.measure(measure, step, seldom=1, ours_held_bytes=held["ours"], reference_held_bytes=held["reference"])
    for ours, plain in zip(case.ours.parameters(), case.reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, atol=1e-3, rtol=1e-3)
        ours.grad = plain.grad = None
