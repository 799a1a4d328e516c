"""The share of the machine's own rate of matrix products that full-size networks reach, forward and in training.

The reference is the time of as many multiply-accumulates in products of square matrices: a ratio of 1 is the limit.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench import Batch, Method
from bench.method.cost import macs_per_frame, training_macs
from perf import samples
from perf.reference import Products
from perf.test_methods import JOINTS, learning, new, published_frames

HEAVY = 20e6  # parameters: seconds for one window
AT_LEAST = {"mixste": 0.88, "diff3dhpe": 0.88}  # in the forward pass

CASES = [pytest.param(name, marks=pytest.mark.published) for name in learning()]


@pytest.fixture(scope="module")
def products(device, toy) -> Products:
    return Products(device, seconds=0.01 if toy else 1.0)


@pytest.fixture(scope="module", params=[pytest.param(None, id="toy"), *CASES])
def network(request, device, toy) -> tuple[str, Method]:
    """A method or stage at its published size; in a toy run a single small one. One pass of a sampler is enough."""
    name = request.param
    if name is None:
        if not toy:
            pytest.skip("the published sizes say it")
        return "mixste", samples.built("mixste", 27, dim=64, depth=2, heads=1).to(device)
    steps = {"sampling_steps": 1} if name == "diff3dhpe" else {}
    return name, new(name, frames=published_frames(name), **steps).to(device)


def batch_for(method: Method, device: torch.device) -> Batch:
    """One window for a network that needs seconds for it, else a few."""
    frames = method.window.frames
    windows = 1 if method.parameter_count > HEAVY else 16
    poses_3d = torch.randn(windows, frames, JOINTS, 3, generator=torch.Generator().manual_seed(1)) * 0.3
    return Batch(poses_3d[..., :2] / (poses_3d[..., 2:] + 4), poses_3d).to(device)


def title(name: str, batch: Batch) -> str:
    return f"{name}: {len(batch)} x {batch.poses_3d.shape[1]} frames"


@pytest.mark.benchmark(group="share")
def test_forward(measure, device, network, products):
    name, method = network
    if "." in name:
        pytest.skip("a stage does not lift")
    batch = batch_for(method, device)
    macs = (macs_per_frame(method, JOINTS) or 0) * method.window.answers * len(batch)

    def lift() -> None:
        with torch.inference_mode():
            method.lift(batch.keypoints_2d, generator=torch.Generator().manual_seed(0))

    measure(
        f"forward, {title(name, batch)}",
        lift,
        lambda: products.take(macs),
        rounds=3,
        warmup=0 if method.parameter_count > HEAVY else 1,
        reach=AT_LEAST.get(name),
        title=f"share of matrix products, {name}, forward",
        macs=macs,
    )


@pytest.mark.benchmark(group="share")
def test_training(measure, device, network, products):
    name, method = network
    batch = batch_for(method, device)
    macs = training_macs(method, JOINTS) * len(batch)
    optimizer = torch.optim.AdamW(method.parameters(), lr=0, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        total: Tensor = method.loss(batch, torch.Generator().manual_seed(2))["total"]
        total.backward()
        optimizer.step()

    rounds = {"rounds": 1, "warmup": 0} if method.parameter_count > HEAVY else {"rounds": 3}
    measure(f"training, {title(name, batch)}", step, lambda: products.take(macs), macs=macs, **rounds)
