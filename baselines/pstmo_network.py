"""The parts of P-STMO's networks: norms, attention layers with and without strides, the encoder, heads.

Shan et al., "P-STMO: Pre-trained Spatial Temporal Many-to-One Model for 3D Human Pose Estimation", ECCV 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from baselines.layers import MLP, Attention, BatchNorm, check_counts
from bench.method import in_float32

# The published implementation's names for our modules, longest first.
UPSTREAM_NAMES = {
    "encoder.fc_1.": "encoder.spatial.expand.",
    "encoder.bn_1.": "encoder.spatial.norm.",
    "encoder.layers.0.w1.": "encoder.spatial.conv1.",
    "encoder.layers.0.batch_norm1.": "encoder.spatial.norm1.",
    "encoder.layers.0.w2.": "encoder.spatial.conv2.",
    "encoder.layers.0.batch_norm2.": "encoder.spatial.norm2.",
    "encoder.fc_2.": "encoder.spatial.project.",
    "Transformer.pos_embedding": "encoder.frame_embedding",
    "Transformer.model.": "encoder.temporal.",
    ".self_attn.linears.0.": ".attn.q.",
    ".self_attn.linears.1.": ".attn.k.",
    ".self_attn.linears.2.": ".attn.v.",
    ".self_attn.linears.3.": ".attn.proj.",
    ".feed_forward.w_1.": ".mlp.fc1.",
    ".feed_forward.w_2.": ".mlp.fc2.",
    ".sublayer.0.norm.": ".norm1.",
    ".sublayer.1.norm.": ".norm2.",
    ".a_2": ".scale",
    ".b_2": ".shift",
}

# Queries, keys and values are one projection here, and three in the published implementation.
UPSTREAM_STACKED = {".attn.qkv.": (".attn.q.", ".attn.k.", ".attn.v.")}


class Norm(nn.Module):
    """Layer norm with the unbiased deviation, and its epsilon added to that. (..., dim) to the same.

    Not `nn.LayerNorm`, whose deviation is the biased one and whose epsilon is added to the variance.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"dim must leave at least 2 channels to normalise over, not {dim}")
        self.scale = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    @in_float32  # as torch does for its own layer norm
    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        # Equal to x.std(), which takes nine times as long on a CPU and was a quarter of the time of a small network.
        deviation: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / math.sqrt(x.shape[-1] - 1)
        return self.scale * centred / (deviation + 1e-6) + self.shift


class StridedMLP(nn.Module):
    """Two convolutions over frames with ReLU between, the second three wide and strided.

    (batch, frames, dim) to (batch, ceil(frames / stride), dim).
    """

    def __init__(self, dim: int, hidden: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv1d(dim, hidden, 1)
        self.fc2 = nn.Conv1d(hidden, dim, 3, stride=stride, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x.mT)))).mT
        return out


class Layer(nn.Module):
    """Pre-norm transformer layer with dropout, which may shorten its sequence. (batch, frames, dim) to the same.

    mlp: after attention. stride: the MLP's; every frame attends, then frames 0, stride, 2 stride, … remain. So it is
    the first frame of a window, not its centre, that keeps its residual path through a strided encoder.
    """

    recomputable = True  # as in baselines.layers.Block

    def __init__(self, dim: int, heads: int, mlp: nn.Module, dropout: float, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = Norm(dim)
        self.attn = Attention(dim, heads, dropout=dropout)
        self.norm2 = Norm(dim)
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.norm1(x)))
        out: Tensor = x[:, :: self.stride] + self.dropout(self.mlp(self.norm2(x)))
        return out


@torch.no_grad()
def copy_prototype(layers: Sequence[Layer], *, mlp: bool) -> None:
    """Start layers as copies of the first, and its queries, keys, values and output as copies of one projection.

    The published code initialises in this way, since its layers are deep copies. mlp: copy the MLPs too.
    """
    for layer in layers:
        for name, drawn in layers[0].attn.proj.named_parameters():
            layer.attn.proj.get_parameter(name).copy_(drawn)
            layer.attn.qkv.get_parameter(name).copy_(torch.cat([drawn] * 3))
        if mlp:
            layer.mlp.load_state_dict(layers[0].mlp.state_dict())


class TemporalTransformer(nn.Module):
    """Attention layers over all frames. (batch, frames, dim) to the same."""

    def __init__(
        self, dim: int, depth: int, heads: int, hidden: int, dropout: float, copied_initialisation: bool
    ) -> None:
        super().__init__()
        layers = [
            Layer(dim, heads, MLP(dim, hidden, activation=F.relu, dropout=dropout), dropout) for _ in range(depth)
        ]
        if copied_initialisation:
            copy_prototype(layers, mlp=True)
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(dim)  # never called, as published: there is no final norm, but one is stored and counted

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class StridedTransformer(nn.Module):
    """Layers that shorten a window to one token, the paper's frame aggregator. (batch, frames, dim) to (batch, 1, dim).

    strides: of the layers. Each of the first three adds a table of positions of its own, read from its start; later
    layers add none, as published.
    """

    def __init__(
        self,
        frames: int,
        dim: int,
        heads: int,
        hidden: int,
        strides: Sequence[int],
        dropout: float,
        copied_initialisation: bool,
    ) -> None:
        super().__init__()
        self.frame_embeddings = nn.ParameterList(torch.randn(1, frames, dim) for _ in range(3))
        layers = [Layer(dim, heads, StridedMLP(dim, hidden, stride, dropout), dropout, stride) for stride in strides]
        if copied_initialisation:
            copy_prototype(layers, mlp=False)
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(dim)  # never called, as in TemporalTransformer

    def forward(self, x: Tensor) -> Tensor:
        for level, layer in enumerate(self.layers):
            if level < len(self.frame_embeddings):
                x = x + self.frame_embeddings[level][:, : x.shape[1]]
            x = layer(x)
        return x


class SpatialMLP(nn.Module):
    """Features of each frame, independent of the others. (batch, frames, joints, 2) to (batch, dim, frames)."""

    def __init__(self, joints: int, dim: int, dropout: float) -> None:
        super().__init__()
        width = 2 * dim
        self.expand = nn.Conv1d(2 * joints, width, 1)
        self.norm = BatchNorm(width)
        self.conv1 = nn.Conv1d(width, width, 1)
        self.norm1 = BatchNorm(width)
        self.conv2 = nn.Conv1d(width, width, 1)
        self.norm2 = BatchNorm(width)
        self.project = nn.Conv1d(width, dim, 1)
        self.activate = nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(dropout))

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        x = rearrange(keypoints_2d, "batch frames joints xy -> batch (joints xy) frames")
        x = self.activate(self.norm(self._features(x)))
        branch = self.activate(self.norm1(self.conv1(x)))
        x = x + self.activate(self.norm2(self.conv2(branch)))
        out: Tensor = self.project(x)
        return out

    @in_float32
    def _features(self, keypoints_2d: Tensor) -> Tensor:
        features: Tensor = self.expand(keypoints_2d)
        return features


class Encoder(nn.Module):
    """What pre-training learns and lifting starts from: the spatial MLP, positions, and attention over frames."""

    def __init__(
        self,
        frames: int,
        joints: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float,
        copied_initialisation: bool,
    ) -> None:
        super().__init__()
        self.spatial = SpatialMLP(joints, dim, dropout)
        self.frame_embedding = nn.Parameter(torch.randn(1, frames, dim))
        self.temporal = TemporalTransformer(dim, depth, heads, hidden, dropout, copied_initialisation)

    def forward(self, keypoints_2d: Tensor, visible: Tensor | None = None) -> Tensor:
        """(batch, frames, joints, 2) to (batch, frames, dim), or to (batch, visible, dim) of the frames numbered there.

        The spatial MLP still sees all frames: in training, hidden ones count in its batch statistics.
        """
        return self.over_frames(self.per_frame(keypoints_2d), visible)

    def per_frame(self, keypoints_2d: Tensor) -> Tensor:
        """The spatial MLP, in which frames are apart. (batch, any frames, joints, 2) to (batch, frames, dim)."""
        features: Tensor = rearrange(self.spatial(keypoints_2d), "batch c frames -> batch frames c")
        return features

    def over_frames(self, features: Tensor, visible: Tensor | None = None) -> Tensor:
        """Positions, and attention over the frames of a window. (batch, frames, dim) to the same, or to the visible."""
        x = features + self.frame_embedding
        if visible is not None:
            x = x[:, visible]
        out: Tensor = self.temporal(x)
        return out


class Head(nn.Module):
    """Batch norm, and a linear map to each joint's `axes`. (batch, frames, dim) to (batch, frames, joints, axes)."""

    def __init__(self, dim: int, joints: int, axes: int) -> None:
        super().__init__()
        self.axes = axes
        self.norm = BatchNorm(dim)
        self.project = nn.Conv1d(dim, joints * axes, 1)

    @in_float32
    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.norm(x.mT))
        out: Tensor = rearrange(x, "batch (joints axes) frames -> batch frames joints axes", axes=self.axes)
        return out


def check_encoder_sizes(
    frames: int, joints: int, dim: int, depth: int, heads: int, hidden: int, step: int, dropout: float
) -> None:
    """Raises ValueError, naming the size, if one is invalid for the encoder or its window."""
    check_counts(frames=frames, joints=joints, dim=dim, depth=depth, heads=heads, hidden=hidden, step=step)
    check_share("dropout", dropout)


def check_share(name: str, share: float) -> None:
    """Raises ValueError, naming it, if a share or rate is not a number in [0, 1)."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise ValueError(f"{name} {share} is not in [0, 1)")


def upstream_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of the encoder that the tensors of a published checkpoint determine. Heads are not stored; they were 8."""
    try:
        hidden, dim = state["Transformer.model.layers.0.feed_forward.w_1.weight"].shape
        layers = [key.split(".")[3] for key in state if key.startswith("Transformer.model.layers.")]
        return {
            "frames": state["Transformer.pos_embedding"].shape[1],
            "joints": state["encoder.fc_1.weight"].shape[1] // 2,
            "dim": dim,
            "depth": 1 + max(int(layer) for layer in layers),
            "heads": 8,
            "hidden": hidden,
        }
    except KeyError as error:
        raise ValueError(f"the checkpoint lacks {error.args[0]}, which every published one holds") from None
