"""The rule of `baselines.layers.attend`: the fused kernel beside plain products, by tokens and channels per head.

The numbers of one window of 243 frames in all cases, 8 heads: 17 tokens are the joints of a frame, the others frames of
a joint.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from perf import reference

HEADS = 8
WINDOW_TOKENS = 17 * 243


@pytest.fixture(params=[17, 27, 81, 243])
def tokens(request) -> int:
    return request.param


@pytest.fixture(params=[8, 64])
def channels(request) -> int:
    return request.param


@pytest.fixture(params=["lifting", "training"])
def purpose(request) -> str:
    return request.param


@pytest.mark.benchmark(group="attention")
def test_attention(measure, device, toy, tokens, channels, purpose):
    source = torch.Generator().manual_seed(3)
    shape = (3, WINDOW_TOKENS // tokens, HEADS, tokens, channels)
    qkv = torch.randn(shape, generator=source).to(device).requires_grad_(purpose == "training")

    def run(attention) -> list[Tensor]:
        with torch.set_grad_enabled(purpose == "training"):
            mixed = attention(*qkv)
        if purpose == "lifting":
            return [mixed]
        (gradient,) = torch.autograd.grad(mixed.square().sum(), qkv)
        return [mixed.detach(), gradient]

    case = f"{purpose}, {tokens} tokens, {channels} channels per head"
    measure(
        case,
        lambda: run(F.scaled_dot_product_attention),
        lambda: run(lambda q, k, v: reference.attention_weights(q, k) @ v),
        rounds=1 if toy else 9,
        tolerance=1e-4,
    )
