"""Diff3DHPE as a method: scale, loss, sampling with noise of its own for each window, hypotheses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from bench import Batch, build, import_upstream
from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset
from bench.geometry.skeleton import H36M_17
from diff3dhpe.diffusion import noise_schedule


@pytest.fixture
def small():
    torch.manual_seed(0)
    return build("diff3dhpe", frames=9, dim=16, depth=1, heads=2, sampling_steps=3).eval()


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_the_scale_is_the_largest_training_coordinate(small):
    poses = torch.randn(20, 17, 3, generator=torch.Generator().manual_seed(1))
    table = pd.DataFrame([("S1", "walk", "walk", "c", 0, 20)], columns=list(SEQUENCE_COLUMNS))
    shown = PoseDataset("toy", "gt", 50, H36M_17, table, torch.zeros(20, 17, 2), poses, torch.zeros(20, 3), "0" * 64)
    small.prepare(shown)
    assert small.pose_scale == poses.abs().max()
    fixed = build("diff3dhpe", frames=9, dim=16, depth=1, heads=2, pose_scale=0.7)
    fixed.prepare(shown)
    assert fixed.pose_scale == pytest.approx(0.7)


def test_the_published_scale_is_over_everything_that_the_files_hold(small):
    poses = torch.full((4, 17, 3), 0.5)
    table = pd.DataFrame([("S1", "walk", "walk", "c", 0, 4)], columns=list(SEQUENCE_COLUMNS))
    shown = PoseDataset("toy", "gt", 50, H36M_17, table, torch.zeros(4, 17, 2), poses, torch.zeros(4, 3), "0" * 64)
    wide = replace(shown, extent=1.5)
    published = build("diff3dhpe", frames=9, dim=16, depth=1, heads=2, scale_over="everything")
    for method, data, scale in ((published, wide, 1.5), (published, shown, 0.5), (small, wide, 0.5)):
        method.prepare(data)
        assert method.pose_scale == scale


def test_predictions_are_in_metres_and_within_the_scale(small):
    small.pose_scale.fill_(0.5)
    lifted = small.lift(torch.randn(2, 9, 17, 2) * 5, generator=generators(0, 1))
    assert lifted.shape == (2, 9, 17, 3)
    assert lifted.abs().max() <= 0.5


def test_the_noise_of_a_window_does_not_depend_on_its_batch(small):
    keypoints_2d = torch.randn(3, 9, 17, 2, generator=torch.Generator().manual_seed(2))
    together = small.lift(keypoints_2d, generator=generators(5, 6, 7))
    alone = small.lift(keypoints_2d[1:2], generator=generators(6))
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
    other = small.lift(keypoints_2d[1:2], generator=generators(8))
    assert (other - alone).abs().max() > 1e-3


def test_one_generator_for_each_window_or_one_for_all(small):
    with pytest.raises(ValueError, match="2 generators for 3 rows"):
        small.lift(torch.zeros(3, 9, 17, 2), generator=generators(0, 1))


def test_hypotheses_are_averaged(golden):
    stored = golden("ddim_trace.npz")
    state = {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}
    method = import_upstream("diff3dhpe", state, heads=8, sampling_steps=4, hypotheses=3)
    # Upstream tiles the batch: its noise is hypothesis after hypothesis.
    draws = iter(torch.from_numpy(stored["in/init_noise_repeat"]).unflatten(0, (3, -1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diff3dhpe.method.randn", lambda shape, generator, device: next(draws))
        lifted = method.lift(torch.from_numpy(stored["in/pose2d"]))
    np.testing.assert_allclose(lifted.detach(), stored["out/repeat_mean"], atol=9e-5)


def test_loss_is_the_weighted_squared_error_of_normalised_poses(small):
    small.pose_scale.fill_(2.0)
    batch = Batch(torch.randn(4, 9, 17, 2), torch.randn(4, 9, 17, 3))
    loss = small.loss(batch, torch.Generator().manual_seed(3))["total"]

    generator = torch.Generator().manual_seed(3)
    timesteps = torch.randint(1000, (4,), generator=generator)
    noise = torch.randn(4, 9, 17, 3, generator=generator)
    clean = batch.poses_3d / 2
    noisy = small.diffusion.add_noise(clean, noise, timesteps)
    squared = (small.denoiser(batch.keypoints_2d, noisy, timesteps) - clean) ** 2
    weight = small.diffusion.loss_weight(timesteps, clip=True)
    torch.testing.assert_close(loss, (weight[:, None, None, None] * squared).mean())


def test_frames_that_are_not_supervised_do_not_count(small):
    poses = torch.randn(2, 9, 17, 3)
    supervised = torch.ones(2, 9, dtype=torch.bool)
    supervised[:, 6:] = False
    keypoints_2d = torch.randn(2, 9, 17, 2)
    small.denoiser.forward = lambda keypoints_2d, noisy, timesteps: torch.zeros_like(noisy)
    losses = []
    for padding in (0.0, 100.0):
        poses[:, 6:] = padding
        losses.append(small.loss(Batch(keypoints_2d, poses, supervised), torch.Generator().manual_seed(0))["total"])
    assert losses[0] == losses[1]


def test_published_wrapper_keys_are_understood():
    torch.manual_seed(0)
    source = build("diff3dhpe", frames=9, dim=16, depth=2, heads=8)
    from bench.method.checkpoint import renamed
    from diff3dhpe.method import UPSTREAM_NAMES

    back = {ours: theirs for theirs, ours in UPSTREAM_NAMES.items() if theirs != "Spatial_patch_to_embedding."}
    state = {f"module.model.{renamed(key, back)}": value for key, value in source.denoiser.state_dict().items()}
    state["module.betas"] = torch.from_numpy(noise_schedule(500, "linear")).float()
    state["module.posterior_variance"] = torch.zeros(500)
    state["module.model.STEblocks.0.total_ops"] = torch.zeros(1, dtype=torch.float64)
    method = import_upstream("diff3dhpe", state)
    assert (method.diffusion.timesteps, method.diffusion.schedule) == (500, "linear")
    for key, value in method.denoiser.state_dict().items():
        assert torch.equal(value, source.denoiser.state_dict()[key]), key


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"sampler": "euler"}, "euler"), ({"hypotheses": 0}, "hypotheses"), ({"sampling_steps": 2000}, "2000")],
)
def test_impossible_hyper_parameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("diff3dhpe", frames=9, dim=16, depth=1, heads=2, **wrong)
