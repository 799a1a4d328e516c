"""The checks of a self-test: what a method computes on a device, against one thread of the CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.config.schema import Recipe
from bench.data.batch import Batch
from bench.data.mocap.studio import film
from bench.data.pose_dataset import Builder, PoseDataset
from bench.data.synthetic import FPS, SEED, motion
from bench.evaluation.predictions import predict
from bench.evaluation.scoring import score
from bench.geometry.skeleton import H36M_17
from bench.method.base import Method, checked_lift, checked_loss
from bench.method.cost import timed
from bench.method.registry import build, method_class
from bench.runs.selftest.outcome import Speed
from bench.system.device import float32_products, one_thread, resolved_precision
from bench.system.progress import silence
from bench.testing import Specimen
from bench.training.loop import Job, fit, prepare
from bench.training.step import Steps, split_refusal

FRAMES = 27  # every method reads windows of so many
TOY = {"dim": 16, "depth": 2, "heads": 2, "dropout": 0.0, "drop_path": 0.0}  # of these what a method accepts
VIDEO = 36  # frames of each video
RECIPE = Recipe(epochs=2, batch_windows=8, window_stride=9, learning_rate=1e-3, precision="float32")
# What speed is measured with: windows in a batch, and by what the default width is divided.
ON_CPU, ON_GPU = (2, 4), (32, 1)
REPEATS = 2


class SkippedError(Exception):
    """A check that cannot be done here, with the reason."""


@dataclass(frozen=True)
class Devices:
    """The device to test, and what it is compared with: one thread of the CPU."""

    device: torch.device

    @property
    def on_gpu(self) -> bool:
        return self.device.type != "cpu"

    def reference(self) -> AbstractContextManager[None]:
        """Compute the reference in the block."""
        return one_thread()

    @contextlib.contextmanager
    def tested(self) -> Iterator[None]:
        """Compute on the device in the block; a CPU with all its threads, and at least two."""
        before = torch.get_num_threads()
        torch.set_num_threads(before if self.on_gpu else max(before, 2))
        try:
            yield
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Data:
    """Synthetic people: the first frames of one action, seen by four cameras."""

    training: PoseDataset
    testing: PoseDataset

    @classmethod
    def made(cls) -> Data:
        return cls(_walking("S1"), _walking("S9"))


def _walking(*subjects: str) -> PoseDataset:
    builder = Builder("synthetic", "gt", FPS, "selftest")
    for subject in subjects:
        moving = motion(subject, "walk")[:VIDEO]
        named = {"subject": subject, "action": "walk", "sequence": "walk"}
        for video in film(H36M_17, FPS, **named, motion=moving, keypoints="gt", seed=SEED):
            builder.add(video)
    return builder.build()


@dataclass(frozen=True)
class Subject:
    """A method under test, built anew for every check, and the data that it is trained and tested on."""

    name: str
    devices: Devices
    data: Data

    @property
    def sizes(self) -> dict[str, Any]:
        return {key: value for key, value in TOY.items() if key in _accepted(self.name)}

    def new(self) -> Method:
        """The method at a toy size, as before training, without dropout: that draws other numbers on each device."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            method = build(self.name, frames=FRAMES, **self.sizes)
        for module in method.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        prepare(method, self.data.training, self.data.training)
        return method

    def moved(self) -> Method:
        """The method with every weight a little off, so that none is zero and hides the others."""
        method, source = self.new().eval(), torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=source))
        return method

    @property
    def batch(self) -> Batch:
        return Specimen(self.name, FRAMES).batch(4)

    @property
    def trains(self) -> bool:
        return method_class(self.name).trainable

    def needs_training(self) -> None:
        if not self.trains:
            raise SkippedError("nothing to train")


# --- the device itself


def products(devices: Devices) -> float:
    """The error of a matrix product, as training and testing compute it, relative to double precision."""
    with float32_products():
        return _product_error(devices.device)


def tf32_products(devices: Devices) -> float:
    """The same with TF32 on. It must be looser, or the setting that turns TF32 off would do nothing."""
    _needs_tf32(devices.device)
    with float32_products(), _tf32():
        error = _product_error(devices.device)
    if error < 1e-5:
        raise AssertionError("TF32 is on, but products are as exact as in float32: turning it off shows nothing")
    return error


def _product_error(device: torch.device) -> float:
    source = torch.Generator().manual_seed(0)
    first, second = (torch.randn(512, 512, generator=source) for _ in range(2))
    exact = first.double() @ second.double()
    return _apart((first.to(device) @ second.to(device)).cpu().double(), exact)


# --- each method


def forward(subject: Subject) -> float:
    expected, found = _both(subject, _lift)
    return _apart(found, expected)


def loss(subject: Subject) -> float:
    subject.needs_training()
    expected, found = _both(subject, lambda method, batch: _loss(method, batch).detach())
    return _apart(found, expected)


def gradients(subject: Subject) -> float:
    subject.needs_training()
    expected, found = _both(subject, _gradients)
    return _apart(found, expected)


def parts(subject: Subject) -> float:
    """The gradients of a batch that is split, against those of the whole, both on the device."""
    subject.needs_training()
    device, found = subject.devices.device, []
    for micro_batch in (None, 2):
        method = subject.moved()
        if refusal := split_refusal(method):
            raise SkippedError(refusal)
        recipe = RECIPE.model_copy(update={"micro_batch": micro_batch})
        method.to(device)
        with subject.devices.tested(), float32_products():
            unmoved = torch.optim.SGD(method.parameters(), lr=0.0)
            steps = Steps(method, unmoved, recipe, device, subject.name)
            steps.take(subject.batch.to(device), torch.Generator().manual_seed(2))
        found.append(_gradients_of(method).cpu().double())
    return _apart(found[1], found[0])


def epoch(subject: Subject) -> float:
    """The mean loss of one epoch from the same start."""
    subject.needs_training()
    recipe = RECIPE.model_copy(update={"epochs": 1})
    losses = []
    for device, threads in _devices(subject):
        with threads, tempfile.TemporaryDirectory() as folder:
            losses.append(_fit(subject, subject.new(), recipe, Path(folder), device))
    return abs(losses[1] - losses[0]) / abs(losses[0])


def evaluate(subject: Subject) -> float:
    """The MPJPE in mm, mirrored average included, of the same weights."""
    method = subject.new()
    with subject.devices.reference(), tempfile.TemporaryDirectory() as folder:
        _fit(subject, method, RECIPE, Path(folder), torch.device("cpu"))
    errors = []
    for device, threads in _devices(subject):
        with threads, silence():
            predictions = predict(method, subject.data.testing, flip=True, seed=0, device=device, label=subject.name)
        errors.append(score(predictions, subject.data.testing, "actions", only=("mpjpe",)).summary["mpjpe"])
    return abs(errors[1] - errors[0])


def resume(subject: Subject) -> float:
    """The weights after two epochs, without and with a stop after the first."""
    subject.needs_training()
    device = subject.devices.device
    with one_thread(), tempfile.TemporaryDirectory() as name:
        whole, stopped, resumed = subject.new(), subject.new(), subject.new()
        _fit(subject, whole, RECIPE, Path(name) / "whole", device)
        _fit(subject, stopped, RECIPE.model_copy(update={"epochs": 1}), Path(name) / "parts", device)
        _fit(subject, resumed, RECIPE, Path(name) / "parts", device)
    return _apart(_weights(resumed), _weights(whole))


def bf16(subject: Subject) -> float:
    device = subject.devices.device
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise SkippedError("this device has no bfloat16")
    expected, found = _both(subject, _lift, torch.autocast(device.type, dtype=torch.bfloat16))
    if subject.trains:
        method = subject.moved().to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            total = _loss(method, subject.batch.to(device))
        total.backward()  # type: ignore[no-untyped-call]
        if not all(one.grad is None or one.grad.isfinite().all() for one in method.parameters()):
            raise AssertionError("a gradient is not finite under autocast to bfloat16")
    return _apart(found, expected)


def tf32(subject: Subject) -> float:
    _needs_tf32(subject.devices.device)
    expected, found = _both(subject, _lift, _tf32())
    return _apart(found, expected)


def compiled(subject: Subject) -> float:
    device = subject.devices.device
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise SkippedError("there is no C++ compiler")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise SkippedError("triton is not installed")

    expected, _ = _both(subject, _lift)
    method, batch = subject.moved().to(device), subject.batch.to(device)
    for network in method.networks():
        network.compile()
    try:
        with subject.devices.tested(), float32_products():
            return _apart(_lift(method, batch).cpu().double(), expected)
    finally:
        torch.compiler.reset()


# --- speed


def speed(subject: Subject) -> Speed:
    """Speed and memory."""
    device, windows, part = subject.devices.device, *(ON_GPU if subject.devices.on_gpu else ON_CPU)
    width = _accepted(subject.name).get("dim")
    narrower = {"dim": width // part} if isinstance(width, int) and width >= part else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = build(subject.name, frames=FRAMES, **narrower)
    prepare(method, subject.data.training, subject.data.training)
    method.to(device)
    batch = Specimen(subject.name, FRAMES).batch(windows).to(device)
    frames = REPEATS * windows * FRAMES

    def lift() -> None:
        for _ in range(REPEATS):
            _lift(method, batch)

    precision = resolved_precision("auto", device)
    mixed = precision == "bfloat16"

    def train() -> None:
        for _ in range(REPEATS):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                total = _loss(method, batch)
            method.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]

    with float32_products(), subject.devices.tested():
        method.eval()
        _lift(method, batch)  # the first call also chooses kernels
        lifting = timed(lift, frames, device)[1]
        training = None
        if subject.trains:
            method.train()
            train()
            training = timed(train, frames, device)[1]
    return Speed(
        method=subject.name,
        parameters=method.parameter_count,
        width=f"1/{part}" if part > 1 else "all",
        frames=FRAMES,
        windows=windows,
        lifted_frames_per_second=lifting.test_frames_per_second,
        trained_frames_per_second=training.test_frames_per_second if training else None,
        precision=precision,
        lifting_peak_mb=lifting.peak_memory_mb,
        training_peak_mb=training.peak_memory_mb if training else None,
    )


OF_THE_DEVICE: dict[str, Callable[[Devices], float]] = {"products": products, "TF32 products": tf32_products}
OF_A_METHOD: dict[str, Callable[[Subject], float]] = {
    "forward": forward,
    "loss": loss,
    "gradients": gradients,
    "parts": parts,
    "epoch": epoch,
    "evaluate": evaluate,
    "resume": resume,
    "bf16": bf16,
    "TF32": tf32,
    "compile": compiled,
}


# --- parts of the checks


def _accepted(name: str) -> dict[str, Any]:
    """The hyper-parameters of a method, with their defaults."""
    return {key: one.default for key, one in inspect.signature(method_class(name)).parameters.items()}


def _devices(subject: Subject) -> list[tuple[torch.device, AbstractContextManager[None]]]:
    """The CPU on one thread, then the device."""
    return [
        (torch.device("cpu"), subject.devices.reference()),
        (subject.devices.device, subject.devices.tested()),
    ]


def _both(
    subject: Subject,
    compute: Callable[[Method, Batch], Tensor],
    how: AbstractContextManager[Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """What `compute` gives on one thread of the CPU, and on the device. how: a context for the latter."""
    results = []
    for (device, threads), around in zip(_devices(subject), (None, how), strict=True):
        method, batch = subject.moved().to(device), subject.batch.to(device)
        with threads, float32_products(), around or contextlib.nullcontext():
            results.append(compute(method, batch).float().cpu().double())
    return results[0], results[1]


def _lift(method: Method, batch: Batch) -> Tensor:
    sources = [torch.Generator().manual_seed(row) for row in range(len(batch))]
    with torch.inference_mode():
        return checked_lift(method, batch.keypoints_2d, sources)


def _loss(method: Method, batch: Batch) -> Tensor:
    return checked_loss(method, batch, torch.Generator().manual_seed(2))["total"]


def _gradients(method: Method, batch: Batch) -> Tensor:
    _loss(method, batch).backward()  # type: ignore[no-untyped-call]
    return _gradients_of(method)


def _gradients_of(method: Method) -> Tensor:
    return torch.cat([one.grad.flatten() for one in method.parameters() if one.grad is not None])


def _weights(method: Method) -> Tensor:
    return torch.cat([value.detach().flatten().cpu().double() for value in method.state_dict().values()])


def _fit(subject: Subject, method: Method, recipe: Recipe, folder: Path, device: torch.device) -> float:
    """Train; the mean loss of the last epoch, 0 for a method without training."""
    with silence():
        trained = fit(
            method, Job(subject.data.training, None, recipe, seed=0, folder=folder, device=device, label=subject.name)
        )
    return trained.history[-1].loss["total"] if trained.history else 0.0


def _apart(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    size = float(expected.norm())
    apart = float((found - expected).norm())
    return apart / size if size else apart


def _needs_tf32(device: torch.device) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0) or torch.version.hip:
        raise SkippedError("not on this device")


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """Products and convolutions in TF32, inside of `float32_products`, which restores the settings."""
    for setting in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):  # type: ignore[attr-defined]
        setting.fp32_precision = "tf32"
    yield
