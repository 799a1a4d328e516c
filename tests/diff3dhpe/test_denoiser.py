"""The denoiser equals its published version, with and without time embedding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import build, import_upstream
from bench.method.checkpoint import renamed
from diff3dhpe.method import UPSTREAM_NAMES


@pytest.mark.parametrize("name", ["diff3dhpe_s2s", "diff3dhpe_s2s_notime", "diff3dhpe_s2f"])
def test_output_and_gradients_equal_the_published_network(golden, first_output, name):
    stored = golden(f"{name}.npz")
    state = {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}
    denoiser = import_upstream("diff3dhpe", state, heads=8).denoiser
    spatial, temporal = (first_output(norm) for norm in (denoiser.encoder.spatial_norm, denoiser.encoder.temporal_norm))
    keypoints_2d, noisy, timesteps = (torch.from_numpy(stored[f"in/{part}"]) for part in ("pose2d", "noisy3d", "t"))
    predicted = denoiser(keypoints_2d, noisy, timesteps)
    np.testing.assert_allclose(predicted.detach(), stored["out/pred"], atol=1.5e-5)

    first = spatial[0].unflatten(0, (-1, keypoints_2d.shape[1]))[0]
    np.testing.assert_allclose(first, stored["out/after_spatial0"], atol=1.5e-5)
    first = temporal[0].unflatten(0, (-1, 17))[0].transpose(0, 1)
    np.testing.assert_allclose(first, stored["out/after_temporal0"], atol=1.5e-5)
    if denoiser.time is not None:
        np.testing.assert_allclose(denoiser.time.waves(timesteps), stored["out/time_sin"], atol=5e-5)
        np.testing.assert_allclose(denoiser.time(timesteps).detach(), stored["out/time_emb"], atol=5e-5)

    (predicted * torch.from_numpy(stored["in/loss_weights"])).sum().backward()
    parameters = dict(denoiser.named_parameters())
    gradients = {key.removeprefix("grad/"): value for key, value in stored.items() if key.startswith("grad/")}
    assert len(gradients) >= 3
    for key, expected in gradients.items():
        found = parameters[renamed(key, UPSTREAM_NAMES)].grad
        np.testing.assert_allclose(found, expected, atol=1.2e-5 * max(abs(expected).max(), 1e-3), err_msg=key)


def test_without_time_embedding_the_timestep_has_no_effect():
    torch.manual_seed(0)
    denoiser = build("diff3dhpe", frames=9, dim=16, depth=1, heads=2, time_embedding=False).eval().denoiser
    keypoints_2d, noisy = torch.randn(2, 9, 17, 2), torch.randn(2, 9, 17, 3)
    early, late = (denoiser(keypoints_2d, noisy, torch.full((2,), step)) for step in (0, 999))
    assert torch.equal(early, late)


@pytest.mark.parametrize(
    ("frames", "with_time", "without"),
    [(27, 43_646_467, 33_674_755), (81, 43_674_115, 33_702_403), (243, 43_757_059, 33_785_347)],
)
def test_published_sizes(frames, with_time, without):
    with torch.device("meta"):
        assert build("diff3dhpe", frames=frames).parameter_count == with_time
        assert build("diff3dhpe", frames=frames, time_embedding=False).parameter_count == without
        for time, whole in ((True, with_time), (False, without)):  # one weight a frame and one bias more
            centre = build("diff3dhpe", frames=frames, targets="centre", time_embedding=time)
            assert centre.parameter_count == whole + frames + 1
