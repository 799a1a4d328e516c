"""What a lifter is to the suite: a module with `loss` and `lift`, and the window of frames it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from bench.system.errors import BenchError

if TYPE_CHECKING:
    from bench.data.pose_dataset import PoseDataset
from bench.data.batch import Batch, Window

# Called with a number of frames that have just been lifted.
Report = Callable[[int], object]


def unreported(frames: int) -> None:
    """The `Report` that does nothing."""


# A single generator, or one per window: then what is drawn for a window does not depend on the batch it came in.
Generators = torch.Generator | Sequence[torch.Generator] | None


class Method(nn.Module):
    """Base class of every lifter.

    A method is built as `cls(frames=..., joints=..., **hyperparameters)` and sets `window`. It implements `loss` and
    `lift`; `prepare` if it needs a statistic of the training data; `stages` and `adopt` if something is trained before
    it; `upstream_hyperparameters` and `load_upstream` if checkpoints of a published implementation exist. Everything it
    must remember between training and testing is a parameter or a buffer.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = ""  # of the code that the paper's authors published
    trainable: ClassVar[bool] = True  # false: `prepare` is all the training there is
    stochastic: ClassVar[bool] = False  # true: `lift` draws random numbers
    # true: the losses of the parts of a batch add up to the loss of the whole (`Batch.whole`), so that
    # recipe.micro_batch can split it.
    parts_add_up: bool = False
    # What a recipe with `as_published: true` sets: {"model": hyper-parameters, "recipe": keys of the recipe} that
    # repeat what is unsound in the published code.
    as_published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    # Stages that can be trained before this method, by name; `stage` builds one, `adopt` learns from it.
    stages: ClassVar[Mapping[str, type[Method]]] = {}

    window: Window
    prepares_on: Literal["training", "everything"] = "training"  # the latter sees test data: only as_published may

    def prepare(self, training: PoseDataset) -> None:
        """See the training set once, before the first step (pose scale, mean pose). Default: nothing."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Training losses of one batch by name; `total` is the one that is minimised."""
        raise NotImplementedError(f"{type(self).__name__} does not implement loss()")

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        """(batch, frames, joints, 2) to metres, camera axes, root-relative: (batch, frames or 1, joints, 3).

        generator: source of randomness for methods that sample; one per row makes rows independent of their batch.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement lift()")

    def lift_video(self, keypoints_2d: Tensor, *, report: Report = unreported) -> Tensor:
        """Whole videos of one length, (videos, frames, joints, 2) to metres, (videos, frames, joints, 3).

        Optional: for methods that answer for one frame of a window, draw no random numbers, and compute less when they
        see the video whole. The result equals `lift` of the window around each frame, edges repeated, to 1e-5; in
        evaluation mode. report: may be called with the number of frames lifted since the last call.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement lift_video()")

    def stage(self, name: str, **hyperparameters: Any) -> Method:
        """The module that an earlier stage trains, freshly initialised, with the sizes of this method."""
        raise ValueError(f"{self.name} has no stage {name!r}")

    def adopt(self, trained: Method) -> None:
        """Start from what an earlier stage has learnt. trained: as `stage` built it, after its training."""
        raise ValueError(f"{self.name} cannot start from {trained.name}")

    def networks(self) -> list[nn.Module]:
        """The modules that `loss` calls, which recipe.compile compiles. Default: the direct children."""
        return list(self.children())

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """`frames`, `joints` and hyper-parameters, read off the tensors of a published checkpoint."""
        raise ValueError("this method has no published checkpoints that could be imported")

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        """Load all weights of the published implementation. state: its tensors, keys without `module.` prefixes."""
        raise ValueError("this method has no published checkpoints that could be imported")

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def checked_lift(method: Method, keypoints_2d: Tensor, generator: Generators = None) -> Tensor:
    """What `method.lift` returns: (batch, frames or 1, joints, 3). Raises BenchError if it has another shape."""
    poses_3d: Any = method.lift(keypoints_2d, generator=generator)
    batch, _, joints, _ = keypoints_2d.shape
    expected = (batch, method.window.answers, joints, 3)
    found = tuple(poses_3d.shape) if isinstance(poses_3d, Tensor) else f"a {type(poses_3d).__name__}"
    if found != expected:
        raise BenchError(
            f"{method.name}: lift() of {tuple(keypoints_2d.shape)} returned {found}; with "
            f"targets={method.window.targets!r} it must be {expected}: batch, frames answered for, joints, 3"
        )
    lifted: Tensor = poses_3d
    return lifted


def lifts_videos(method: Method) -> bool:
    """Whether the method offers `lift_video`."""
    return type(method).lift_video is not Method.lift_video


def checked_lift_video(method: Method, keypoints_2d: Tensor, report: Report = unreported) -> Tensor:
    """What `method.lift_video` returns: (videos, frames, joints, 3).

    Raises BenchError if it has another shape, or if the method must not offer it; ValueError for a method in training
    mode, whose batch norms would mix frames that windows keep apart.
    """
    if method.window.targets == "all" or method.stochastic:
        does = "draws random numbers" if method.stochastic else "answers for every frame of its window"
        raise BenchError(
            f"{method.name} offers lift_video, but {does}: only methods that answer for one frame, always alike, may"
        )
    if any(module.training for module in method.modules()):
        raise ValueError(f"{method.name} is in training mode: whole videos are lifted in evaluation mode only")
    poses_3d: Any = method.lift_video(keypoints_2d, report=report)
    expected = (*keypoints_2d.shape[:3], 3)
    found = tuple(poses_3d.shape) if isinstance(poses_3d, Tensor) else f"a {type(poses_3d).__name__}"
    if found != expected:
        raise BenchError(
            f"{method.name}: lift_video() of {tuple(keypoints_2d.shape)} returned {found}; it must be {expected}: "
            "videos, frames, joints, 3"
        )
    lifted: Tensor = poses_3d
    return lifted


def checked_loss(method: Method, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """What `method.loss` returns. Raises BenchError unless all are tensors of one number, and `total` is among them."""
    losses: dict[str, Any] = method.loss(batch, generator)
    shapes = {
        name: tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        for name, value in losses.items()
    }
    if shapes.get("total") != ():
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
        raise BenchError(f"{method.name}: loss() must return a `total` of shape () to minimise; found {found}")
    for name, shape in shapes.items():
        if shape != ():
            raise BenchError(f"{method.name}: loss {name!r} must be a tensor of shape () to be logged; found {shape}")
    return losses


def randn(shape: Sequence[int], generator: Generators, device: torch.device | str | None = None) -> Tensor:
    """Standard normal numbers of `shape`; with one generator per row, row i is drawn from generator i alone.

    Drawn where the generator lives (the CPU for ours), then moved: the numbers do not depend on the device.
    """
    if generator is None or isinstance(generator, torch.Generator):
        origin = generator.device if generator is not None else device
        return torch.randn(tuple(shape), generator=generator, device=origin).to(device or origin or "cpu")
    if len(generator) != shape[0]:
        raise ValueError(f"{len(generator)} generators for {shape[0]} rows")
    rows = [torch.randn(tuple(shape[1:]), generator=one, device=one.device) for one in generator]
    return torch.stack(rows).to(device or rows[0].device)


def generator_of(key: str) -> torch.Generator:
    """A generator seeded from the hash of a text.

    `bench.evaluation.predict` draws the noise of a window from `0/S9/Walking/54138969/27/plain`: seed, video, first
    frame and version.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
