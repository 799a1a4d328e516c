"""Schedules, forward process, loss weight and sampler equal their published versions; textbook DDIM beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench import import_upstream
from bench.method.checkpoint import renamed
from diff3dhpe.diffusion import Diffusion
from diff3dhpe.method import UPSTREAM_NAMES


@pytest.mark.parametrize("timesteps", [1000, 50])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "logcosine"])
def test_schedules(golden, schedule, timesteps):
    stored = golden("diffusion_schedules.npz")
    diffusion = Diffusion(timesteps, schedule)
    for ours in ("betas", "alphas_cumprod"):
        np.testing.assert_allclose(getattr(diffusion, ours), stored[f"out/{schedule}_T{timesteps}/{ours}"], rtol=4e-7)
    weight = diffusion.loss_weight(torch.arange(timesteps), clip=False)
    np.testing.assert_allclose(weight, stored[f"out/{schedule}_T{timesteps}/loss_coef"], rtol=4e-7)


def test_sampling_times(golden):
    stored = golden("diffusion_schedules.npz")
    lists = {key: value for key, value in stored.items() if "/times_" in key}
    assert len(lists) >= 10
    for key, expected in lists.items():
        timesteps, steps = (int(part[1:]) for part in key.rpartition("/times_")[2].split("_"))
        assert Diffusion(timesteps).sampling_times(steps) == expected.tolist(), key


@pytest.mark.parametrize("steps", [0, 51])
def test_sampling_needs_between_one_and_all_steps(steps):
    with pytest.raises(ValueError, match=r"1\.\.50"):
        Diffusion(50).sampling_times(steps)


def test_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="'square'"):
        Diffusion(10, "square")


def test_training_loss_and_gradients(golden):
    stored = golden("diffusion_loss.npz")
    state = {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}
    method = import_upstream("diff3dhpe", state, heads=8)
    parts = ("pose2d", "pose3d_norm", "noise", "t")
    keypoints_2d, clean, noise, timesteps = (torch.from_numpy(stored[f"in/{part}"]) for part in parts)
    noisy = method.diffusion.add_noise(clean, noise, timesteps)
    np.testing.assert_allclose(noisy, stored["out/x_t"], atol=1e-6)
    for tag, clip in (("clip", True), ("noclip", False)):
        method.zero_grad()
        predicted = method.denoiser(keypoints_2d, noisy, timesteps)
        np.testing.assert_allclose(predicted.detach(), stored["out/model_out"], atol=1.5e-5)
        weight = method.diffusion.loss_weight(timesteps, clip)
        np.testing.assert_allclose(weight, stored[f"out/coef_{tag}"].reshape(-1), rtol=4e-7)
        loss = weight[:, None, None, None] * (predicted - clean) ** 2
        np.testing.assert_allclose(loss.detach(), stored[f"out/loss_{tag}"], rtol=2e-4, atol=1e-3)
        loss.mean().backward()
        parameters = dict(method.denoiser.named_parameters())
        compared = 0
        for key, expected in stored.items():
            if key.startswith(f"grad/{tag}/"):
                found = parameters[renamed(key.removeprefix(f"grad/{tag}/"), UPSTREAM_NAMES)].grad
                scale = max(abs(expected).max(), 1e-3)
                np.testing.assert_allclose(found, expected, atol=3e-4 * scale, err_msg=key)
                compared += 1
        assert compared == 3


@pytest.mark.parametrize(
    ("tag", "eta", "clip"),
    [("eta0", 0.0, True), ("eta1", 1.0, True), ("eta0_noclip", 0.0, False)],
)
@pytest.mark.parametrize("file", ["ddim_trace.npz", "ddim_trace_s2f.npz"])
def test_every_step_of_the_sampler(golden, monkeypatch, file, tag, eta, clip):
    stored = golden(file)
    state = {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}
    method = import_upstream("diff3dhpe", state, heads=8)
    keypoints_2d = torch.from_numpy(stored["in/pose2d"])
    draws = iter(torch.from_numpy(stored["in/step_noise"]))
    monkeypatch.setattr("diff3dhpe.diffusion.randn", lambda shape, generator, device: next(draws))
    trace: list = []
    with torch.no_grad():
        final = method.diffusion.sample(
            lambda poses, timesteps: method.denoiser(keypoints_2d, poses, timesteps),
            torch.from_numpy(stored["in/init_noise"]),
            steps=4,
            eta=eta,
            clip=clip,
            trace=trace,
        )
    assert method.diffusion.sampling_times(4) == stored["out/times"].tolist()
    tolerance = 1.2e-3 if eta else 9e-5
    np.testing.assert_allclose(final, stored[f"out/final_{tag}"], atol=tolerance)
    np.testing.assert_allclose(torch.stack([state for state, _ in trace]), stored[f"out/xt_{tag}"], atol=tolerance)
    np.testing.assert_allclose(torch.stack([clean for _, clean in trace]), stored[f"out/x0_{tag}"], atol=tolerance)


def test_textbook_ddim_keeps_a_perfect_guess_on_its_path():
    """With the truth as the network's answer, textbook DDIM's state is the forward process of the same noise."""
    diffusion = Diffusion(1000)
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 5, 17, 3, generator=generator) * 2 - 1
    noise = torch.randn(clean.shape, generator=generator)
    first = diffusion.sampling_times(5)[0]
    start = diffusion.add_noise(clean.double(), noise.double(), torch.full((2,), first))
    trace: list = []
    diffusion.sample(lambda poses, timesteps: clean.double(), start, 5, as_published=False, trace=trace)
    for time, (state, _) in zip(diffusion.sampling_times(5)[1:-1], trace[:-1], strict=True):
        # float32 signal levels in add_noise against float64 ones in the sampler; the first step divides by sqrt(1-a)
        expected = diffusion.add_noise(clean.double(), noise.double(), torch.full((2,), time))
        torch.testing.assert_close(state, expected, atol=1e-4, rtol=0)


def test_published_ddim_inflates_the_signal():
    """The published sampler subtracts a_t, not sqrt(a_t): at 5 steps the signal part grows up to 1.39-fold."""
    diffusion = Diffusion(1000)
    clean = torch.ones(1, 1)
    worst = 0.0
    trace: list = []
    diffusion.sample(lambda poses, timesteps: clean, torch.zeros(1, 1), 5, as_published=True, trace=trace)
    for time, (state, _) in zip(diffusion.sampling_times(5)[1:-1], trace[:-1], strict=True):
        worst = max(worst, float(state) / math.sqrt(float(diffusion.alphas_cumprod[time])))
    assert worst == pytest.approx(1.39, abs=0.01)


def test_full_noise_in_every_step_stays_finite_where_float32_would_not():
    """With eta 1 and 5 steps the first radicand is rounding error; the published code returns NaN there."""
    diffusion = Diffusion(1000)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, generator=generator)
    out = diffusion.sample(lambda poses, timesteps: poses * 0.5, noise, 5, eta=1.0, generator=generator)
    assert out.isfinite().all()
