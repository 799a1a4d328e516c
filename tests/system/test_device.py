"""Precision is what the device has in hardware, and the same for matrix products and convolutions."""

from __future__ import annotations

import contextlib
from contextlib import nullcontext

import pytest
import torch

from bench.system import device as devices
from bench.system.device import float32_products, resolved_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda:1")


@pytest.mark.parametrize("stated", ["auto", "float32"])
def test_a_cpu_computes_in_float32(stated):
    assert resolved_precision(stated, CPU) == "float32"


@pytest.mark.parametrize(
    ("stated", "in_hardware", "expected"),
    [("auto", True, "bfloat16"), ("auto", False, "float32"), ("float32", True, "float32")],
)
def test_bfloat16_is_for_a_gpu_that_has_it_in_hardware(monkeypatch, stated, in_hardware, expected):
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or in_hardware

    monkeypatch.setattr(devices.torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(devices.torch.cuda, "device", lambda device: asked.append(device) or nullcontext())
    assert resolved_precision(stated, GPU) == expected
    assert asked == ([GPU] if stated == "auto" else []), "of this device, not of the current one"


def settings() -> tuple[str, str]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


def test_tf32_is_off_for_matrix_products_and_convolutions_and_then_as_before():
    before = settings()
    with contextlib.suppress(KeyboardInterrupt), float32_products():
        assert settings() == ("ieee", "ieee")
        raise KeyboardInterrupt
    assert settings() == before
    assert before[1] == "tf32", "PyTorch's default, which would favour methods of convolutions"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_products_on_a_gpu_are_those_of_a_cpu():
    source = torch.Generator().manual_seed(0)
    frames, kernel = torch.randn(4, 512, 81, generator=source), torch.randn(512, 512, 3, generator=source)
    with float32_products():
        convolved = torch.nn.functional.conv1d(frames.cuda(), kernel.cuda()).cpu()
        multiplied = (frames.mT.cuda() @ kernel[..., 0].cuda()).cpu()
    for found, expected in (
        (convolved, torch.nn.functional.conv1d(frames.double(), kernel.double())),
        (multiplied, frames.mT.double() @ kernel[..., 0].double()),
    ):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
