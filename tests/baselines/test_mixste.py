"""MixSTE equals its published version: output, stages, gradients, loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import toy_dataset

from baselines.mixste import JOINT_WEIGHTS, UPSTREAM_NAMES, MixSTE, mixste_losses
from bench import Batch, build, import_upstream
from bench.geometry.skeleton import H36M_17, MPI_INF_3DHP_17
from bench.method.checkpoint import renamed


def upstream(stored) -> dict[str, np.ndarray]:
    return {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}


def test_output_and_gradients_equal_the_published_network(golden, first_output):
    stored = golden("mixste.npz")
    method = import_upstream("mixste", upstream(stored), heads=8)
    encoder = method.network.encoder
    spatial, temporal = first_output(encoder.spatial_norm), first_output(encoder.temporal_norm)
    predicted = method.network(torch.from_numpy(stored["in/pose2d"]))
    np.testing.assert_allclose(predicted.detach(), stored["out/pred"], atol=1e-5)
    first = spatial[0].unflatten(0, (-1, 9))[0]
    np.testing.assert_allclose(first, stored["out/after_spatial0"], atol=1e-5)
    first = temporal[0].unflatten(0, (-1, 17))[0].transpose(0, 1)
    np.testing.assert_allclose(first, stored["out/after_temporal0"], atol=1e-5)

    (predicted * torch.from_numpy(stored["in/loss_weights"])).sum().backward()
    parameters = dict(method.network.named_parameters())
    compared = 0
    for key, expected in stored.items():
        if key.startswith("grad/"):
            found = parameters[renamed(key.removeprefix("grad/"), UPSTREAM_NAMES)].grad
            np.testing.assert_allclose(found, expected, atol=1.2e-5 * max(abs(expected).max(), 1e-3), err_msg=key)
            compared += 1
    assert compared == 3


def test_loss_and_its_gradients_equal_the_published_ones(golden):
    stored = golden("mixste_loss.npz")
    np.testing.assert_array_equal(stored["out/joint_weights"], np.array(JOINT_WEIGHTS, np.float32))
    predicted = torch.from_numpy(stored["in/pred"]).requires_grad_()
    losses = mixste_losses(predicted, torch.from_numpy(stored["in/target"]), torch.tensor(JOINT_WEIGHTS))
    for ours, theirs in {
        "position": "weighted_mpjpe",
        "smoothness": "temporal_consistency",
        "velocity": "mpjve",
        "total": "loss_total",
    }.items():
        np.testing.assert_allclose(losses[ours].item(), stored[f"out/{theirs}"], rtol=1e-6, err_msg=ours)
    losses["total"].backward()
    np.testing.assert_allclose(predicted.grad, stored["grad/pred_plain"], atol=1e-8, rtol=1e-5)


def test_the_published_backward_call_is_a_switch(golden, monkeypatch):
    stored = golden("mixste_loss.npz")
    predicted, target = (torch.from_numpy(stored[f"in/{name}"]) for name in ("pred", "target"))
    method = MixSTE(frames=9, dim=8, depth=1, heads=2, square_loss_gradient=True)
    answer = predicted.clone().requires_grad_()
    monkeypatch.setattr(method.network, "forward", lambda keypoints_2d: answer)
    losses = method.loss(Batch(torch.zeros(3, 9, 17, 2), target))
    np.testing.assert_allclose(losses["total"].item(), stored["out/loss_total"], rtol=1e-6)
    losses["total"].backward()
    np.testing.assert_allclose(answer.grad, stored["grad/pred_upstream_backward"], atol=1e-8, rtol=1e-5)


def test_frames_that_are_not_supervised_do_not_count():
    torch.manual_seed(0)
    target, predicted = torch.randn(2, 6, 17, 3), torch.randn(2, 6, 17, 3)
    weights = torch.tensor(JOINT_WEIGHTS)
    supervised = torch.ones(2, 6, dtype=torch.bool)
    supervised[:, 4:] = False
    cut = mixste_losses(predicted[:, :4], target[:, :4], weights)
    predicted[:, 4:] = 1e3
    masked = mixste_losses(predicted, target, weights, supervised)
    for name in cut:
        torch.testing.assert_close(masked[name], cut[name])


def test_a_window_of_one_frame_has_no_velocity_and_a_finite_loss():
    losses = mixste_losses(torch.ones(2, 1, 17, 3), torch.zeros(2, 1, 17, 3), torch.tensor(JOINT_WEIGHTS))
    assert losses["velocity"] == 0
    assert losses["total"] == losses["position"]


@pytest.mark.parametrize(("frames", "parameters"), [(27, 33_673_219), (81, 33_700_867), (243, 33_783_811)])
def test_published_sizes(frames, parameters):
    with torch.device("meta"):
        assert build("mixste", frames=frames).parameter_count == parameters


def test_joints_of_3dhp_weigh_what_the_same_joints_of_human36m_weigh():
    human36m = dict(zip(H36M_17.joints, JOINT_WEIGHTS, strict=True))
    human36m |= {"head top": human36m["head"], "head": human36m["neck"]}  # Human3.6M's head is the top of it
    method = build("mixste", frames=9, dim=16, depth=1, heads=2)
    method.prepare(toy_dataset())
    assert method.joint_weights.tolist() == list(JOINT_WEIGHTS)
    method.prepare(replace(toy_dataset(), skeleton=MPI_INF_3DHP_17))
    assert method.joint_weights.tolist() == [human36m[joint] for joint in MPI_INF_3DHP_17.joints]
