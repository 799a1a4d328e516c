"""Precision is what the device has in hardware, and the same for matrix products and convolutions."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
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


FAULTS = """
import resource, sys, torch
from bench.system.device import threads_for
def use():
    torch.empty(2**24).fill_(1)
with threads_for(10**9 if sys.argv[1] == "kept" else 0, torch.device("cpu" if sys.argv[1] == "kept" else "meta")):
    for _ in range(20):  # until the heap is large enough
        use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        use()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_a_cpu_keeps_the_memory_of_freed_tensors():
    """Memory that was given back comes page by page: a fault for each page, or each large one."""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "returned")
    }
    assert faults["kept"] < 32 < 10 * 32 <= faults["returned"], faults  # 64 MB are 32 of the large pages
