"""What every registered method must do, whatever it is: a new one passes these without a test of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import bench
from bench import Batch, Method, checkpoint
from bench.errors import BenchError

SIZES = {"dim": 16, "depth": 2, "heads": 2}
JOINTS = 17

# Sizes that a method accepts, so that all are built alike, and that mean nothing to it.
MEANINGLESS = {"mean_pose": {"dim", "depth", "heads"}, "videopose3d": {"depth", "heads"}}

# Ends of the names of parameters that no loss can move.
WITHOUT_GRADIENT = {
    "poseformer": ("weighted_mean.bias",),  # shifts all channels alike, and the norm behind it centres them
    # The published network stores a final norm for each of its transformers and calls none; they count as parameters.
    "pstmo": ("encoder.temporal.norm.scale", "encoder.temporal.norm.shift", "strided.norm.scale", "strided.norm.shift"),
}


@pytest.fixture(params=bench.methods())
def name(request) -> str:
    return request.param


@pytest.fixture(params=[9, 27])
def frames(request) -> int:
    return request.param


@pytest.fixture
def method(name: str, frames: int) -> Method:
    return new(name, frames)


def new(name: str, frames: int = 9, seed: int = 0, **changes: Any) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return bench.build(name, frames=frames, **(SIZES | changes)).eval()


def batch_of(method: Method, windows: int = 3) -> Batch:
    source = torch.Generator().manual_seed(1)
    poses_3d = torch.randn(windows, method.window.frames, JOINTS, 3, generator=source) * 0.3
    poses_3d -= poses_3d[..., :1, :]
    return Batch(poses_3d[..., :2] / (poses_3d[..., 2:] + 4), poses_3d)


def lift(method: Method, keypoints_2d: Tensor, first: int = 0) -> Tensor:
    """Window i of the batch draws from generator first + i."""
    sources = [torch.Generator().manual_seed(first + row) for row in range(len(keypoints_2d))]
    with torch.inference_mode():
        return method.lift(keypoints_2d, generator=sources)


def test_it_has_a_name_a_summary_and_a_window(method, name, frames):
    assert method.name == name
    assert (type(method).__doc__ or "").strip()
    assert method.window.frames == frames
    assert isinstance(method, Method)


def test_poses_have_the_shape_of_the_window(method, frames):
    for windows in (1, 3):
        poses = lift(method, batch_of(method, windows).keypoints_2d)
        answered = frames if method.window.targets == "all" else 1
        assert poses.shape == (windows, answered, JOINTS, 3)
        assert poses.dtype == torch.float32
        assert torch.isfinite(poses).all()


def test_poses_do_not_depend_on_the_batch(method):
    keypoints_2d = batch_of(method, 5).keypoints_2d
    together = lift(method, keypoints_2d)
    alone = torch.cat([lift(method, keypoints_2d[row : row + 1], first=row) for row in range(5)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_lifting_is_deterministic_and_changes_nothing(method):
    keypoints_2d = batch_of(method).keypoints_2d
    given, state = keypoints_2d.clone(), torch.get_rng_state()
    weights = {key: value.clone() for key, value in method.state_dict().items()}
    assert torch.equal(lift(method, keypoints_2d), lift(method, keypoints_2d))
    assert torch.equal(keypoints_2d, given), "the input is the caller's"
    assert torch.equal(torch.get_rng_state(), state), "randomness comes from the generator alone"
    assert all(torch.equal(weights[key], value) for key, value in method.state_dict().items())


def test_only_methods_that_say_so_draw_random_numbers(method):
    keypoints_2d = batch_of(method).keypoints_2d
    same = torch.equal(lift(method, keypoints_2d), lift(method, keypoints_2d, first=100))
    assert same != method.stochastic


def test_randomness_may_come_from_one_generator_or_none(method):
    keypoints_2d = batch_of(method).keypoints_2d
    first, second = (method.lift(keypoints_2d, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert method.lift(keypoints_2d).shape == first.shape


def test_the_loss_is_finite_and_reaches_every_parameter(method):
    if not method.trainable:
        with pytest.raises(NotImplementedError, match="does not implement loss"):
            method.loss(batch_of(method))
        assert not list(method.parameters())
        return
    method.train()
    # Where a weight starts at zero another may see no gradient in the first step: give all of them a value.
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    losses = method.loss(batch_of(method), torch.Generator().manual_seed(2))
    assert losses["total"].shape == ()
    assert all(torch.isfinite(value) for value in losses.values())
    losses["total"].backward()
    for key, parameter in method.named_parameters():
        assert parameter.requires_grad, key
        if key.endswith(WITHOUT_GRADIENT.get(method.name, ())):
            assert parameter.grad is None or parameter.grad.abs().max() < 1e-5, f"{key} has a gradient after all"
            continue
        assert parameter.grad is not None, f"{key} has no part in the loss"
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), f"the gradient of {key} is zero"


def test_the_loss_survives_mixed_precision(method):
    if not method.trainable:
        pytest.skip("nothing to train")
    losses = [method.loss(batch_of(method), torch.Generator().manual_seed(2))["total"]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses.append(method.loss(batch_of(method), torch.Generator().manual_seed(2))["total"])
    losses[1].backward()
    assert all(one.grad.isfinite().all() for one in method.parameters() if one.grad is not None)
    # bfloat16 keeps eight bits of a number: some percent of an error
    torch.testing.assert_close(losses[1].float(), losses[0], rtol=0.05, atol=0)


def test_the_loss_follows_from_its_generator(method):
    if not method.trainable:
        pytest.skip("nothing to train")
    state = torch.get_rng_state()
    first, second = (method.loss(batch_of(method), torch.Generator().manual_seed(2))["total"] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_padding_is_not_learnt_from(method):
    if not method.trainable:
        pytest.skip("nothing to train")
    batch = batch_of(method)
    real = torch.ones_like(batch.supervised)
    real[:, -3:] = False
    if method.window.targets != "all":
        pytest.skip("the frame that it answers for is never padding")
    changed = batch.poses_3d.clone()
    changed[:, -3:] *= 2

    def loss(poses_3d: Tensor) -> Tensor:
        return method.loss(Batch(batch.keypoints_2d, poses_3d, real), torch.Generator().manual_seed(2))["total"]

    if method.stochastic:  # it reads the noisy padding, but does not answer for it
        assert torch.isfinite(loss(changed))
    else:
        assert torch.equal(loss(batch.poses_3d), loss(changed))


def test_a_state_dict_is_all_there_is_to_remember(method, name, frames, tmp_path):
    with torch.no_grad():
        for value in method.state_dict().values():
            value.add_(0.1 if value.is_floating_point() else 1)  # as prepare() and training would
    checkpoint.save(method.state_dict(), tmp_path / "weights.pt")
    other = new(name, frames, seed=7)
    other.load_state_dict(checkpoint.load(tmp_path / "weights.pt"))
    keypoints_2d = batch_of(method).keypoints_2d
    assert torch.equal(lift(method, keypoints_2d), lift(other, keypoints_2d))


def test_the_seed_of_the_weights_is_torchs(name):
    keypoints_2d = batch_of(new(name)).keypoints_2d
    same = torch.equal(lift(new(name, seed=0), keypoints_2d), lift(new(name, seed=1), keypoints_2d))
    assert torch.equal(lift(new(name, seed=0), keypoints_2d), lift(new(name, seed=0), keypoints_2d))
    assert same != new(name).trainable


def test_other_skeletons_can_be_lifted(name):
    keypoints_2d = torch.randn(2, 9, 28, 2, generator=torch.Generator().manual_seed(0))
    assert lift(new(name, joints=28), keypoints_2d).shape[-2:] == (28, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"joints": -1},
        {"no_such_thing": 1},
        {"dim": 0},
        {"dim": -4},
        {"dim": "wide"},
        {"dim": 16.5},
        {"dim": 15, "heads": 2},
        {"depth": 0},
        {"depth": 1.5},
        {"heads": 0},
        {"heads": -2},
        {"heads": 3},
    ],
    ids=str,
)
def test_what_it_cannot_be_built_with_is_refused(name, wrong):
    if wrong.keys() & MEANINGLESS.get(name, set()):
        pytest.skip("this size means nothing to it")
    with pytest.raises(BenchError, match=name):
        new(name, **({"frames": 9} | wrong))


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("mixste", {"drop_path": 1.5, "depth": 1}, "drop path rate 1.5 is not in"),
        ("mixste", {"mlp_ratio": 0}, "mlp_ratio 0 leaves the MLP without a single unit"),
        ("poseformer", {"mlp_ratio": 0}, "mlp_ratio 0 leaves the MLP without a single unit"),
        ("videopose3d", {"frames": 63}, "frames 63 is not a power of 3: give widths"),
        ("videopose3d", {"frames": 63, "widths": [3, 3, 5]}, "widths [3, 3, 5] read 45 frames, not 63"),
        ("videopose3d", {"widths": [3, -3]}, "widths must be a list of odd whole numbers of at least 1"),
        ("videopose3d", {"widths": 9}, "widths must be a list of odd whole numbers of at least 1, not 9"),
        ("videopose3d", {"widths": []}, "widths must be a list"),
        ("videopose3d", {"dropout": 1.0}, "dropout 1.0 is not in [0, 1)"),
        ("videopose3d", {"out_joints": 0}, "out_joints must be a whole number of at least 1, not 0"),
        ("pstmo", {"frames": 11}, "no strides were published for 11 frames, only for 9, 27, 81, 243, 351"),
        ("pstmo", {"strides": [3]}, "strides [3] leave 3 of 9 frames; they must leave 1"),
        ("pstmo", {"strides": [0, 9]}, "strides must be a whole number of at least 1, not 0"),
        ("pstmo", {"strides": 9}, "strides must be a list of whole numbers, not 9"),
        ("pstmo", {"hidden": 0}, "hidden must be a whole number of at least 1, not 0"),
        ("pstmo", {"step": 1.5}, "step must be a whole number of at least 1, not 1.5"),
        ("pstmo", {"dropout": 1}, "dropout 1 is not in [0, 1)"),
        ("pstmo", {"out_joints": 0}, "out_joints must be a whole number of at least 1, not 0"),
        ("pstmo", {"dim": 1, "heads": 1}, "at least 2 channels to normalise over"),
        ("diff3dhpe", {"dim": 9, "heads": 3}, "dim 9 is odd"),
        ("diff3dhpe", {"timesteps": 10.5, "sampling_steps": 3}, "timesteps must be a whole number"),
        ("diff3dhpe", {"sampling_steps": 2000}, "sampling steps must be in 1..1000, not 2000"),
        ("diff3dhpe", {"schedule": "square"}, "schedule must be 'linear', 'cosine' or 'logcosine'"),
        ("diff3dhpe", {"sampler": "fast"}, "sampler must be 'published' or 'textbook'"),
        ("diff3dhpe", {"hypotheses": 0}, "hypotheses must be a whole number of at least 1"),
        ("diff3dhpe", {"eta": -1}, "eta must be in 0..1"),
        ("diff3dhpe", {"pose_scale": 0}, "pose_scale must be above 0"),
    ],
)
def test_what_one_method_cannot_be_built_with(name, wrong, expected):
    with pytest.raises(BenchError) as caught:
        new(name, **wrong)
    assert expected in str(caught.value)
