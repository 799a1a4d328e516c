"""What every method must do, whatever it is. The suite's own methods pass these checks, and a stranger's can be put to
them by `check_method`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.data.batch import Batch
from bench.method.base import Method, checked_lift, checked_loss
from bench.method.registry import build


def check_method(
    name: str, *, frames: int = 9, joints: int = 17, unmoved: Sequence[str] = (), **hyperparameters: Any
) -> None:
    """Put a registered method to every check: shapes, rows on their own, randomness, loss, memory.

    frames, joints, hyperparameters: what it is built with; small ones take seconds. unmoved: ends of the names of
    parameters that no loss can move. Raises AssertionError with what is wrong, and BenchError if the method cannot be
    built or answers in the wrong shape.
    """
    for check in CHECKS:
        check(Specimen(name, frames, joints, hyperparameters, tuple(unmoved)))


@dataclass(frozen=True)
class Specimen:
    """A method to check, as often as a check needs it, and windows of random numbers for it."""

    name: str
    frames: int = 9
    joints: int = 17
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    unmoved: tuple[str, ...] = ()

    def new(self, seed: int = 0) -> Method:
        """The method with weights of that seed, ready to lift."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(self.name, frames=self.frames, joints=self.joints, **self.hyperparameters).eval()

    def batch(self, windows: int = 3) -> Batch:
        """Random poses about the root, in metres, seen by a camera four metres away."""
        source = torch.Generator().manual_seed(1)
        poses_3d = torch.randn(windows, self.frames, self.joints, 3, generator=source) * 0.3
        poses_3d -= poses_3d[..., :1, :]
        return Batch(poses_3d[..., :2] / (poses_3d[..., 2:] + 4), poses_3d)


def lift(method: Method, keypoints_2d: Tensor, first: int = 0) -> Tensor:
    """Window i of the batch draws from generator first + i."""
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
        assert poses.dtype == torch.float32, f"{one.name} answers in {poses.dtype}, not float32"
        assert torch.isfinite(poses).all(), f"{one.name} answers with poses that are not finite"


def lifts_the_same_again_and_changes_nothing(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch().keypoints_2d
    given, state = keypoints_2d.clone(), torch.get_rng_state()
    weights = {key: value.clone() for key, value in method.state_dict().items()}
    same = torch.equal(lift(method, keypoints_2d), lift(method, keypoints_2d))
    assert same, f"{one.name} lifts the same keypoints with the same generators to other poses"
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


def draws_random_numbers_only_if_it_says_so(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch().keypoints_2d
    drew = not torch.equal(lift(method, keypoints_2d), lift(method, keypoints_2d, first=100))
    assert drew == method.stochastic, f"{one.name} has stochastic = {method.stochastic}, but drew: {drew}"


def takes_one_generator_or_none(one: Specimen) -> None:
    method, keypoints_2d = one.new(), one.batch().keypoints_2d
    first, second = (checked_lift(method, keypoints_2d, _source(4)) for _ in range(2))
    assert torch.equal(first, second), f"{one.name} lifts to other poses with the same generator"
    checked_lift(method, keypoints_2d)


def has_a_finite_loss_that_reaches_every_parameter(one: Specimen) -> None:
    method = one.new().train()
    if not method.trainable:
        assert not list(method.parameters()), f"{one.name} says that it is not trainable, but has parameters"
        return
    # Where a weight starts at zero another may see no gradient in the first step: give all of them a value.
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=_source(3)))
    losses = checked_loss(method, one.batch(), _source(2))  # raises BenchError without a total
    for key, value in losses.items():
        assert value.shape == (), f"loss {key} of {one.name} has shape {tuple(value.shape)}, not ()"
        assert torch.isfinite(value), f"loss {key} of {one.name} is {value}"
    losses["total"].backward()  # type: ignore[no-untyped-call]
    for key, parameter in method.named_parameters():
        if key.endswith(one.unmoved):
            moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 1e-5)
            assert not moved, f"{key} of {one.name} has a part in the loss after all"
        elif parameter.requires_grad:
            assert parameter.grad is not None, f"{key} of {one.name} has no part in the loss"
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
    method = one.new()
    if not method.trainable:
        return
    exact = _total(method, one.batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = _total(method, one.batch())
    rounded.backward()  # type: ignore[no-untyped-call]
    for key, parameter in method.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), f"the gradient of {key} overflows in bfloat16"
    # bfloat16 keeps eight bits of a number: some percent of an error
    torch.testing.assert_close(
        rounded.float(), exact, rtol=0.05, atol=0, msg=lambda text: f"the loss of {one.name} in bfloat16: {text}"
    )


def learns_nothing_from_padding(one: Specimen) -> None:
    method, batch = one.new(), one.batch()
    if not method.trainable or method.window.targets != "all":  # the one frame that is answered for is never padding
        return
    batch.supervised[:, -3:] = False
    before = _total(method, batch)
    batch.poses_3d[:, -3:] *= 2
    after = _total(method, batch)
    if method.stochastic:  # it may read noisy poses of padding, but does not answer for them
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
    draws_random_numbers_only_if_it_says_so,
    takes_one_generator_or_none,
    has_a_finite_loss_that_reaches_every_parameter,
    has_a_loss_that_follows_from_its_generator,
    has_a_loss_that_survives_mixed_precision,
    learns_nothing_from_padding,
    remembers_all_in_its_state_dict,
    is_initialised_from_the_seed_of_torch,
)


def _source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _total(method: Method, batch: Batch) -> Tensor:
    return checked_loss(method, batch, _source(2))["total"]
