"""VideoPose3D: dilated convolutions over time, with residual connections, lift one frame of a window.

Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training", CVPR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from baselines.layers import BatchNorm
from baselines.losses import answered_mpjpe
from bench.method import Batch, Generators, Method, Report, Window, in_float32, unreported
from bench.method.checkpoint import load_exactly


class VideoPose3DNetwork(nn.Module):
    """(batch, time, joints, 2) normalised keypoints to (batch, time - frames + 1, out_joints, 3) metres, root-relative.

    Nothing is padded. The receptive field, `frames`, is the product of `widths`; the frames that a block reads are as
    far apart as the product of the widths before it. A pose answers for the centre of its frames, or for their last if
    `causal`, which changes only the residual connections. dense: blocks also read all frames in between. Modules have
    the published names.
    """

    def __init__(
        self, joints: int, out_joints: int, dim: int, widths: Sequence[int], dropout: float, causal: bool, dense: bool
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.frames = math.prod(widths)
        self.causal = causal
        self.dense = dense
        self.dropout = nn.Dropout(dropout)
        self.expand_conv = nn.Conv1d(2 * joints, dim, self.widths[0], bias=False)
        self.expand_bn = BatchNorm(dim)
        self.layers_conv = nn.ModuleList()
        self.layers_bn = nn.ModuleList()
        for width, apart in zip(self.widths[1:], accumulate(self.widths, mul), strict=False):
            taps = {"kernel_size": (width - 1) * apart + 1} if dense else {"kernel_size": width, "dilation": apart}
            self.layers_conv += [nn.Conv1d(dim, dim, bias=False, **taps), nn.Conv1d(dim, dim, 1, bias=False)]
            self.layers_bn += [BatchNorm(dim), BatchNorm(dim)]
        self.shrink = nn.Conv1d(dim, 3 * out_joints, 1)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        if keypoints_2d.shape[1] < self.frames:
            raise ValueError(f"{keypoints_2d.shape[1]} frames are too few: one pose is lifted from {self.frames}")
        x = rearrange(keypoints_2d, "batch time joints c -> batch (joints c) time")
        lift = self._lift_one if x.shape[-1] == self.frames and not self.dense else self._lift_all
        return self._poses(lift(x))

    def _lift_all(self, x: Tensor) -> Tensor:
        """Slide over the frames: neighbouring poses share computation."""
        x = self._activate(self._features(x), self.expand_bn)
        for block in range(len(self.widths) - 1):
            read = self.layers_conv[2 * block](x)
            lost = x.shape[-1] - read.shape[-1]
            first = lost if self.causal else lost // 2
            x = x[..., first : first + read.shape[-1]] + self._mix(read, block)
        return x

    def _lift_one(self, x: Tensor) -> Tensor:
        """The same function of a single receptive field, without products that do not contribute to the pose."""
        x = self._activate(self._features(x, stride=self.widths[0]), self.expand_bn)
        for block, width in enumerate(self.widths[1:]):
            read = F.conv1d(x, self.layers_conv[2 * block].get_parameter("weight"), stride=width)
            first = width - 1 if self.causal else width // 2
            x = x[..., first::width] + self._mix(read, block)
        return x

    def _mix(self, read: Tensor, block: int) -> Tensor:
        """What a block does after its temporal convolution."""
        x = self._activate(read, self.layers_bn[2 * block])
        return self._activate(self.layers_conv[2 * block + 1](x), self.layers_bn[2 * block + 1])

    def _activate(self, x: Tensor, norm: nn.Module) -> Tensor:
        out: Tensor = self.dropout(F.relu(norm(x)))
        return out

    @in_float32
    def _features(self, keypoints_2d: Tensor, stride: int = 1) -> Tensor:
        return F.conv1d(keypoints_2d, self.expand_conv.weight, stride=stride)

    @in_float32
    def _poses(self, features: Tensor) -> Tensor:
        out: Tensor = self.shrink(features)
        return rearrange(out, "batch (joints c) time -> batch time joints c", c=3)


class VideoPose3D(Method):
    """VideoPose3D: temporal convolutions lift the centre frame of a window, or the last one.

    dim: channels. widths: of the convolution of each layer, odd, with `frames` as their product (default: 3 each).
    causal: lift the last frame, from the past alone. dense: the ablation with undilated convolutions. out_joints:
    joints of the poses (default: `joints`). depth and heads are ignored, since depth follows from `frames`; they are
    accepted so that every method can be built in the same way. Where a training batch leaves a batch norm one value per
    channel (one window, in the last block), its running statistics take the place of the batch's.
    """

    name = "videopose3d"
    paper = "Pavllo et al., CVPR 2019"
    licence = "CC BY-NC 4.0"

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        *,
        dim: int = 1024,
        widths: Sequence[int] | None = None,
        dropout: float = 0.25,
        causal: bool = False,
        dense: bool = False,
        out_joints: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        self.window = Window(frames, targets="last" if causal else "centre")
        out_joints = joints if out_joints is None else out_joints
        for name, size in (("dim", dim), ("joints", joints), ("out_joints", out_joints)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {size!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout} is not in [0, 1)")
        widths = _threes(frames) if widths is None else widths
        if not isinstance(widths, Sequence) or not widths or not all(_is_odd(width) for width in widths):
            raise ValueError(f"widths must be a list of odd whole numbers of at least 1, not {widths!r}")
        if math.prod(widths) != frames:
            raise ValueError(f"widths {list(widths)} read {math.prod(widths)} frames, not {frames}")
        self.network = VideoPose3DNetwork(joints, out_joints, dim, widths, dropout, causal, dense)

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        poses: Tensor = self.network(keypoints_2d)
        return poses

    def lift_video(self, keypoints_2d: Tensor, *, report: Report = unreported) -> Tensor:
        before, after = self.window.answered.start, self.window.frames - self.window.answered.stop
        first, last = keypoints_2d[:, :1].expand(-1, before, -1, -1), keypoints_2d[:, -1:].expand(-1, after, -1, -1)
        poses: Tensor = self.network(torch.cat([first, keypoints_2d, last], dim=1))  # slides over the frames
        return poses

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {"total": answered_mpjpe(self.network(batch.keypoints_2d), batch, self.window)}

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """All but `causal` and `dropout`, which tensors do not determine.

        Kernels that could be those of a dense network are assumed to be: [3, 7] is dense over 9 frames. If it is
        dilated, over 21, state `frames`, `widths` and `dense`.
        """
        try:
            dim, inputs, first = state["expand_conv.weight"].shape
            outputs = state["shrink.weight"].shape[0]
            last = max((int(key.split(".")[1]) for key in state if key.startswith("layers_conv.")), default=-1)
            kernels = [first, *(state[f"layers_conv.{layer}.weight"].shape[2] for layer in range(0, last + 1, 2))]
        except KeyError as error:
            raise ValueError(f"the checkpoint lacks {error.args[0]}, which every published one holds") from None
        dense_widths = _dense_widths(kernels)
        widths = dense_widths or kernels
        return {
            "frames": math.prod(widths),
            "joints": inputs // 2,
            "out_joints": outputs // 3,
            "dim": dim,
            "widths": widths,
            "dense": dense_widths is not None,
        }

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        load_exactly(self.network, state, {})


def _is_odd(width: Any) -> bool:
    return isinstance(width, int) and width > 0 and width % 2 == 1


def _threes(frames: int) -> list[int]:
    """The published widths: as many threes as make `frames`."""
    layers = round(math.log(frames, 3))
    if 3**layers != frames:
        raise ValueError(
            f"frames {frames} is not a power of 3: give widths, odd numbers with that product (63 is [3, 3, 7])"
        )
    return [3] * layers or [1]


def _dense_widths(kernels: Sequence[int]) -> list[int] | None:
    """The widths of a dense network with these kernels; None if only a dilated one has them."""
    widths = [kernels[0]]
    for kernel in kernels[1:]:
        steps, rest = divmod(kernel - 1, math.prod(widths))
        if rest or steps % 2:
            return None
        widths.append(steps + 1)
    return widths if widths != list(kernels) else None
