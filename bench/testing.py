"""What every method must do. The suite's own methods pass these checks; `check_method` runs them on any other."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.batch import Batch, Window
from bench.data.windows import frame_indices, test_windows
from bench.method.base import Method, checked_lift, checked_lift_video, checked_loss, lifts_videos
from bench.method.registry import build


def check_method(
    name: str, *, frames: int = 9, joints: int = 17, unmoved: Sequence[str] = (), **hyperparameters: Any
) -> None:
    """Run every check on a registered method: shapes, independent rows, randomness, loss, mixed precision, memory.

    frames, joints, hyperparameters: what it is built with; small sizes take seconds. unmoved: name endings of
    parameters that no loss depends on. Raises AssertionError with what is wrong, and BenchError if the method cannot be
    built or returns poses of the wrong shape.
    """
    for check in CHECKS:
        check(Specimen(name, frames, joints, hyperparameters, tuple(unmoved)))


@dataclass(frozen=True)
class Specimen:
    """A method to check, built as often as a check needs it, and windows of random numbers for it."""

    name: str
    frames: int = 9
    joints: int = 17
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    unmoved: tuple[str, ...] = ()

    def new(self, seed: int = 0) -> Method:
        """The method in evaluation mode, its weights initialised from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(self.name, frames=self.frames, joints=self.joints, **self.hyperparameters).eval()

    def batch(self, windows: int = 3) -> Batch:
        """Random poses about the root, in metres, seen by a camera four metres away."""
        source = torch.Generator().manual_seed(1)
        poses_3d = torch.randn(windows, self.frames, self.joints, 3, generator=source) * 0.3
        poses_3d -= poses_3d[..., :1, :]
        return Batch(poses_3d[..., :2] / (poses_3d[..., 2:] + 4), poses_3d)

    def videos(self, frames: int) -> Tensor:
        """Random keypoints of two videos: (2, frames, joints, 2)."""
        return torch.randn(2, frames, self.joints, 2, generator=torch.Generator().manual_seed(1)) * 0.1


def lift(method: Method, keypoints_2d: Tensor, first: int = 0) -> Tensor:
    """Lift a batch; window i draws from the generator with seed first + i."""
    with torch.inference_mode():
        return checked_lift(method, keypoints_2d, [_source(first + row) for row in range(len(keypoints_2d))])


# What is checked


def says_what_it_is(one: Specimen) -> None:
    method = one.new()
    assert method.name == one.name, f"{one.name} calls itself {method.name!r}"
    assert (type(method).__doc__ or "").strip(), f"{one.name} needs a docstring: its first line is its summary"


def lifts_to_finite_poses_in_the_shape_of_its_window(one: Specimen) -> None:
    for windows in (1, 3):
        poses = lift(one.new(), one.batch(windows).keypoints_2d)  # raises BenchError for a wrong shape
        assert poses.dtype == torch.float32, f"{one.name} returns poses in {poses.dtype}, not float32"
        assert torch.isfinite(poses).all(), f"{one.name} returns poses that are not finite"


def lifts_the_same_again_and_changes_nothing(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch().keypoints_2d
    given, state = keypoints_2d.clone(), torch.get_rng_state()
    weights = {key: value.clone() for key, value in method.state_dict().items()}
    same = torch.equal(lift(method, keypoints_2d), lift(method, keypoints_2d))
    assert same, f"{one.name} returns other poses for the same keypoints and generators"
    assert torch.equal(keypoints_2d, given), f"lift() of {one.name} changes the keypoints, which are the caller's"
    assert torch.equal(torch.get_rng_state(), state), f"lift() of {one.name} draws from torch, not from its generator"
    for key, value in method.state_dict().items():
        assert torch.equal(weights[key], value), f"lift() of {one.name} changes {key}"


def lifts_every_window_on_its_own(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch(5).keypoints_2d
    together = lift(method, keypoints_2d)
    alone = torch.cat([lift(method, keypoints_2d[row : row + 1], first=row) for row in range(5)])
    torch.testing.assert_close(
        alone, together, atol=1e-5, rtol=1e-5, msg=lambda text: f"poses of {one.name} depend on their batch: {text}"
    )


def lifts_whole_videos_as_window_by_window(one: Specimen) -> None:
    """For methods that offer `lift_video`: videos shorter than a window, as long and longer, two at a time."""
    method, window = one.new(), one.new().window
    if not lifts_videos(method):
        return
    _disturb(method)  # an embedding that starts at zero would hide where it is missing
    for length in sorted({1, 2, window.frames // 2 + 1, window.frames, 2 * window.frames + 1}):
        videos = one.videos(length)
        given = videos.clone()
        reported: list[int] = []
        with torch.inference_mode():
            together = checked_lift_video(method, videos, reported.append)  # raises BenchError for a wrong shape
        assert torch.equal(videos, given), f"lift_video() of {one.name} changes the keypoints, which are the caller's"
        assert sum(reported) in (0, length), f"lift_video() of {one.name} reports {sum(reported)} of {length} frames"
        read = torch.from_numpy(frame_indices(test_windows([length], window), [length], window))
        apart = torch.stack([lift(method, video[read])[:, 0] for video in videos])
        torch.testing.assert_close(
            together,
            apart,
            atol=1e-5,
            rtol=1e-5,
            msg=partial(
                "lift_video() of {} differs from lift() of windows, edges repeated, in videos of {} frames: {}".format,
                one.name,
                length,
            ),
        )


def draws_random_numbers_only_if_it_says_so(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch().keypoints_2d
    drew = not torch.equal(lift(method, keypoints_2d), lift(method, keypoints_2d, first=100))
    assert drew == method.stochastic, f"{one.name} has stochastic = {method.stochastic}, but drew: {drew}"


def takes_one_generator_or_none(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch().keypoints_2d
    first, second = (checked_lift(method, keypoints_2d, _source(4)) for _ in range(2))
    assert torch.equal(first, second), f"{one.name} returns other poses with the same generator"
    checked_lift(method, keypoints_2d)


def has_a_finite_loss_that_reaches_every_parameter(one: Specimen) -> None:
    method = one.new().train()
    if not method.trainable:
        assert not list(method.parameters()), f"{one.name} says that it is not trainable, but has parameters"
        return
    _disturb(method)  # a weight that starts at zero can hide another one from the gradient
    losses = checked_loss(method, one.batch(), _source(2))  # raises BenchError without a total
    for key, value in losses.items():
        assert value.shape == (), f"loss {key} of {one.name} has shape {tuple(value.shape)}, not ()"
        assert torch.isfinite(value), f"loss {key} of {one.name} is {value}"
    losses["total"].backward()  # type: ignore[no-untyped-call]
    for key, parameter in method.named_parameters():
        if key.endswith(one.unmoved):
            moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 1e-5)
            assert not moved, f"{key} of {one.name} is part of the loss, though unmoved names it"
        elif parameter.requires_grad:
            assert parameter.grad is not None, f"{key} of {one.name} is not part of the loss"
            assert torch.isfinite(parameter.grad).all(), f"the gradient of {key} of {one.name} is not finite"
            assert parameter.grad.any(), f"the gradient of {key} of {one.name} is zero"


def has_a_loss_that_follows_from_its_generator(one: Specimen) -> None:
    method, state = one.new(), torch.get_rng_state()
    if not method.trainable:
        return
    first, second = (_total(method, one.batch()) for _ in range(2))
    assert torch.equal(first, second), f"the loss of {one.name} differs with the same generator"
    assert torch.equal(torch.get_rng_state(), state), f"loss() of {one.name} draws from torch, not from its generator"


def has_a_loss_that_survives_mixed_precision(one: Specimen) -> None:
    """Each loss of a nearly perfect prediction of smooth motion, under autocast to bfloat16 and without.

    Rounding to bfloat16 moves a coordinate of half a metre by up to 1 mm, as much as the prediction error here.
    """
    method = one.new()
    if not method.trainable:
        return
    _scale_as_trained(method)
    batch = _smooth_motion(one)
    advice = f"decorate the last map of {one.name} and its losses with bench.method.in_float32"
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded_poses = checked_lift(method, batch.keypoints_2d, _source(2))
    assert rounded_poses.dtype == torch.float32, f"under autocast poses are {rounded_poses.dtype}: {advice}"
    if not method.stochastic:
        batch.poses_3d = _near(checked_lift(method, batch.keypoints_2d).detach(), method.window)
    exact = checked_loss(method, batch, _source(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = checked_loss(method, batch, _source(2))
    rounded["total"].backward()  # type: ignore[no-untyped-call]
    for key, parameter in method.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), f"the gradient of {key} overflows in bfloat16"
    negligible = 1e-6 * abs(exact["total"].item())
    for key, value in exact.items():
        found, expected = rounded[key].item(), value.item()
        # Features stay in bfloat16, hence the tolerance of a fifth; rounded poses at least double a position error.
        assert abs(found - expected) <= 0.2 * abs(expected) + negligible, (
            f"loss {key} of {one.name} is {found:.4g} under autocast to bfloat16, {expected:.4g} in float32; {advice}"
        )


def learns_nothing_from_padding(one: Specimen) -> None:
    method, batch = one.new(), one.batch()
    if not method.trainable or method.window.targets != "all":  # a single output frame is never padding
        return
    batch.supervised[:, -3:] = False
    before = _total(method, batch)
    batch.poses_3d[:, -3:] *= 2
    after = _total(method, batch)
    if method.stochastic:  # padding may enter as a noisy pose, not as a target
        assert torch.isfinite(after), f"the loss of {one.name} with padding is {after}"
    else:
        assert torch.equal(before, after), f"{one.name} learns from frames where batch.supervised is false"


def remembers_all_in_its_state_dict(one: Specimen) -> None:
    method, other = one.new(), one.new(seed=7)
    with torch.no_grad():
        for value in method.state_dict().values():
            value.add_(0.1 if value.is_floating_point() else 1)  # as prepare() and training would
    stored = io.BytesIO()
    torch.save(method.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    keypoints_2d = one.batch().keypoints_2d
    same = torch.equal(lift(method, keypoints_2d), lift(other, keypoints_2d))
    assert same, f"{one.name} needs more than its state dict: keep what it must remember in parameters and buffers"


def is_initialised_from_the_seed_of_torch(one: Specimen) -> None:
    keypoints_2d = one.batch().keypoints_2d
    first, again, other = (lift(one.new(seed), keypoints_2d) for seed in (0, 0, 1))
    assert torch.equal(first, again), f"{one.name} starts with other weights from the same seed"
    assert torch.equal(first, other) != one.new().trainable, f"the weights of {one.name} do not depend on the seed"


CHECKS: tuple[Callable[[Specimen], None], ...] = (
    says_what_it_is,
    lifts_to_finite_poses_in_the_shape_of_its_window,
    lifts_the_same_again_and_changes_nothing,
    lifts_every_window_on_its_own,
    lifts_whole_videos_as_window_by_window,
    draws_random_numbers_only_if_it_says_so,
    takes_one_generator_or_none,
    has_a_finite_loss_that_reaches_every_parameter,
    has_a_loss_that_follows_from_its_generator,
    has_a_loss_that_survives_mixed_precision,
    learns_nothing_from_padding,
    remembers_all_in_its_state_dict,
    is_initialised_from_the_seed_of_torch,
)


@torch.no_grad()
def _disturb(method: nn.Module) -> None:
    """Give every parameter a value."""
    for parameter in method.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=_source(3)))


# Parts of the check of mixed precision


@torch.no_grad()
def _scale_as_trained(method: nn.Module) -> None:
    """Make poses lie half a metre from the root and vary little with the input, as after training."""
    source = _source(3)
    for key, parameter in method.named_parameters():
        if parameter.ndim > 1:
            parameter.mul_(0.1)
        elif key.endswith("bias"):
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=source))


def _smooth_motion(one: Specimen) -> Batch:
    """Random poses whose joints move along straight lines, 3 cm per frame."""
    source = _source(1)
    start, direction = (torch.randn(3, 1, one.joints, 3, generator=source) for _ in range(2))
    poses_3d = 0.3 * start + 0.03 * nn.functional.normalize(direction, dim=-1) * _frames(one.frames, one.frames // 2)
    poses_3d -= poses_3d[..., :1, :].clone()
    return Batch(poses_3d[..., :2] / (poses_3d[..., 2:] + 4), poses_3d)


def _near(poses_3d: Tensor, window: Window) -> Tensor:
    """Targets 1 mm from these poses in the middle of the output frames, and 1 mm farther with each frame."""
    middle = (window.answered.start + window.answered.stop) // 2
    apart = torch.tensor([0.0006, 0.0008, 0.0]) * _frames(window.frames, middle - 1)
    return poses_3d.expand(-1, window.frames, -1, -1) + apart


def _frames(frames: int, zero: int) -> Tensor:
    """Frame numbers relative to frame `zero`: (frames, 1, 1)."""
    return torch.arange(frames)[:, None, None] - zero


def _source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _total(method: Method, batch: Batch) -> Tensor:
    return checked_loss(method, batch, _source(2))["total"]
