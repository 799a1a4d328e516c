"""The refine module and the poses on the camera's rays equal the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.pstmo_refine import UPSTREAM_NAMES, Refine, lifted_from_depth
from bench.geometry.camera import project
from bench.method.checkpoint import renamed
from bench.metrics import mpjpe
from bench.system.errors import BenchError
from tests.samples import axes_last, upstream_state


def test_output_and_gradients_equal_the_published_module(golden):
    stored = golden("pstmo_refine.npz")
    refine = Refine.from_upstream(upstream_state(stored))
    poses = torch.from_numpy(stored["in/pred"]).requires_grad_()
    keypoints_2d, truth, intrinsics = (torch.from_numpy(stored[f"in/{name}"]) for name in ("uv", "gt_3d", "cam"))
    on_rays = lifted_from_depth(keypoints_2d, poses.detach(), truth[:, :, 0, 2], intrinsics)
    np.testing.assert_allclose(on_rays, stored["out/uvd2xyz"], atol=1e-6)
    refined = refine(poses, on_rays)
    np.testing.assert_allclose(refined.detach(), stored["out/y"], atol=1e-6)
    loss = (refined * torch.from_numpy(stored["in/loss_weights"])).sum()
    np.testing.assert_allclose(loss.item(), stored["out/loss"], rtol=2e-4)
    loss.backward()
    np.testing.assert_allclose(poses.grad, stored["grad/in_pred"], atol=1e-4 * abs(stored["grad/in_pred"]).max())
    for key in ("post_refine.0.bias", "post_refine.3.weight", "post_refine.3.bias"):
        expected = stored[f"grad/{key}"]
        found = refine.get_parameter(renamed(key, UPSTREAM_NAMES)).grad
        np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max(), err_msg=key)


def test_poses_on_rays_and_the_loss_equal_those_of_the_published_training(golden):
    stored = golden("pstmo_loss.npz")
    truth = torch.from_numpy(stored["in/gt_3d"])[:, 4:5]
    centre = axes_last(stored["in/single"])
    np.testing.assert_array_equal(centre, stored["out/refine_in_pred"])
    keypoints_2d = torch.from_numpy(stored["in/x2d"])[:, 4:5]
    on_rays = lifted_from_depth(keypoints_2d, centre, truth[:, :, 0, 2], torch.from_numpy(stored["in/cam"]))
    np.testing.assert_allclose(on_rays, stored["out/refine_in_xyz"], atol=1e-6)
    target = truth.clone()
    target[:, :, 0] = 0
    loss = mpjpe(torch.from_numpy(stored["in/refine_out"]), target)
    np.testing.assert_allclose(loss.item(), stored["out/refine_loss"], rtol=1e-6)


def test_true_depths_and_an_ideal_lens_give_the_true_pose():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.4, (3, 1, 17, 3)) + np.array([0.2, -0.1, 4.5])
    intrinsics = np.array([2.3, 2.2, 0.05, -0.03, *[0] * 5])  # no distortion
    keypoints_2d = project(points, intrinsics)
    poses = points - points[:, :, :1]
    found = lifted_from_depth(
        torch.from_numpy(keypoints_2d),
        torch.from_numpy(poses),
        torch.from_numpy(points[:, :, 0, 2]),
        torch.from_numpy(np.tile(intrinsics, (3, 1))),
    )
    np.testing.assert_allclose(found, poses, atol=1e-12)


def test_a_refined_pose_lies_between_its_two_sources():
    torch.manual_seed(0)
    refine = Refine(17).eval()
    poses, on_rays = torch.randn(2, 5, 1, 17, 3).unbind()
    refined = refine(poses, on_rays)
    assert torch.equal(refined[..., 2], poses[..., 2])
    low, high = torch.minimum(poses, on_rays)[..., :2], torch.maximum(poses, on_rays)[..., :2]
    assert ((refined[..., :2] >= low - 1e-6) & (refined[..., :2] <= high + 1e-6)).all()
    assert (refine.train()(poses, on_rays) != refine(poses, on_rays)).any(), "dropout acts in training"


def test_published_size():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Refine(17).parameters()) == 140_322


def test_keys_that_do_not_fit_are_named(golden):
    state = upstream_state(golden("pstmo_refine.npz"))
    with pytest.raises(BenchError, match=r"missing: post_refine\.3\.bias"):
        Refine.from_upstream({key: value for key, value in state.items() if key != "post_refine.3.bias"})
    with pytest.raises(BenchError, match=r"not expected: post_refine\.1\.weight"):
        Refine.from_upstream(state | {"post_refine.1.weight": np.zeros(3, np.float32)})
