"""Under autocast what is decorated computes in float32; without it nothing changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.mixste import JOINT_WEIGHTS, mixste_losses
from bench.method import in_float32


def mixed() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def walk(frames: int = 27) -> torch.Tensor:
    """Poses half a metre wide that move 4.1 mm per frame: (1, frames, 17, 3)."""
    source = torch.Generator().manual_seed(0)
    start = 0.3 * torch.randn(1, 1, 17, 3, generator=source)
    way = nn.functional.normalize(torch.randn(1, 1, 17, 3, generator=source), dim=-1)
    return start + 0.0041 * way * torch.arange(frames)[:, None, None]


class Identity(nn.Module):
    """A network that returns what it is given: a perfect prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.head.weight)

    def rounded(self, poses: torch.Tensor) -> torch.Tensor:
        return self.head(poses)

    @in_float32
    def poses(self, poses: torch.Tensor) -> torch.Tensor:
        return self.head(poses)


def test_a_perfect_prediction_has_no_velocity_error_under_autocast():
    network, target, weights = Identity(), walk(), torch.tensor(JOINT_WEIGHTS)
    with mixed():
        exact = mixste_losses(network.poses(target), target, weights)
        rounded = mixste_losses(network.rounded(target), target, weights)
    assert exact["velocity"] == 0
    assert rounded["velocity"] > 0.0005, "half a millimetre and more, which the loss cannot give back"


def test_tensors_are_widened_and_autocast_is_off_inside():
    seen = {}

    @in_float32
    def loss(predicted: torch.Tensor, *, target: torch.Tensor, mask: torch.Tensor, name: str) -> torch.Tensor:
        seen.update(predicted=predicted.dtype, target=target.dtype, mask=mask.dtype, name=name)
        assert not torch.is_autocast_enabled("cpu")
        return predicted @ target.T

    ones = torch.ones(2, 2)
    with mixed():
        result = loss(ones.bfloat16(), target=ones, mask=ones.bool(), name="here")
        assert torch.is_autocast_enabled("cpu")
    assert result.dtype == torch.float32
    assert seen == {"predicted": torch.float32, "target": torch.float32, "mask": torch.bool, "name": "here"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_without_autocast_every_tensor_stays_as_it_is(dtype):
    given = torch.ones(2, 3, dtype=dtype)
    assert in_float32(lambda tensor: tensor)(given) is given


def test_the_meta_device_has_no_autocast():
    assert in_float32(lambda tensor: tensor + 1)(torch.ones(2, device="meta")).is_meta


def test_gradients_reach_the_weights_through_it():
    network = Identity()
    with mixed():
        network.poses(walk()).sum().backward()
    assert network.head.weight.grad.dtype == torch.float32
    assert network.head.weight.grad.any()
