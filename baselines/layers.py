"""Transformer blocks that the lifters share: attention, MLP, stochastic depth, and the block made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

WIDE = 2**18  # weights of a linear map from which its form matters: 512 x 512


class Linear(nn.Linear):
    """A linear map of tokens, a wide one as a 1 x 1 convolution on a CPU. (..., dim) to the same.

    PyTorch gives float32 products on a CPU to MKL and convolutions to oneDNN, which adds the bias on the way. With 512
    channels and (rows, tokens, 512) that is a sixth faster on the AMD CPU it was measured on.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.ndim != 3 or x.dtype != torch.float32 or self.weight.numel() < WIDE:
            return super().forward(x)
        images = x[:, :, None].permute(0, 3, 1, 2)  # one per row, a pixel per token, channels innermost
        out: Tensor = F.conv2d(images, self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)[:, :, 0]
        return out


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection. (rows, tokens, dim) to the same.

    subtract_values: GRAND's diffusion step (P - I) v instead of P v, as attention minus v (Chamberlain et al.,
    ICML 2021; Zhou et al., ICCVW 2023). dropout: of the probabilities, in training.
    """

    def __init__(self, dim: int, heads: int, subtract_values: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.subtract_values = subtract_values
        self.dropout = dropout
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.qkv(x))

    def mix(self, projected: Tensor) -> Tensor:
        """What follows the joint projection. (rows, tokens, 3 x dim) to (rows, tokens, dim)."""
        q, k, v = rearrange(projected, "rows tokens (s heads c) -> s rows heads tokens c", s=3, heads=self.heads)
        mixed = attend(q, k, v, self.dropout if self.training else 0.0)
        if self.subtract_values:
            mixed = mixed - v
        out: Tensor = self.proj(rearrange(mixed, "rows heads tokens c -> rows tokens (heads c)"))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q kᵀ / sqrt(c)) v, each probability dropped at the rate `dropout`. (rows, heads, tokens, c) three times
    to the same.

    The fused kernel saves memory, and pads small heads on a CPU. In training on 17 or 27 tokens it takes up to twice as
    long there as the plain products, on 81 equally long, on 243 less (docs/reference/performance.md). So the rule suits
    the small models that a CPU can train; a published size has 64 channels per head and gets the fused one.
    """
    if q.device.type == "cpu" and q.shape[-1] < 64:
        mixed: Tensor = F.dropout((q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1), dropout) @ v
        return mixed
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


class MLP(nn.Module):
    """Two linear maps with an activation between, the exact GELU by default. (..., dim) to the same.

    hidden: channels between. dropout: after the activation, in training.
    """

    def __init__(
        self, dim: int, hidden: int, activation: Callable[[Tensor], Tensor] = F.gelu, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.activation = activation
        self.dropout = dropout
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.dropout(self.activation(self.fc1(x)), self.dropout, self.training))
        return out


class DropPath(nn.Module):
    """Stochastic depth: in training a row keeps its branch with probability 1 - rate, scaled by 1 / (1 - rate).

    One draw for each entry of the leading axis (Huang et al., ECCV 2016).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate {rate} is not in [0, 1)")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = torch.empty(x.shape[:1] + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (kept / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class Block(nn.Module):
    """Pre-norm transformer block, optionally shifted by a time embedding first. (rows, tokens, dim) to the same.

    time_dim: width of the time embedding; its projection is added to the residual stream itself, before the norm
    (Zhou et al., ICCVW 2023).
    """

    recomputable = True  # recipe.checkpoint_activations keeps its input instead of what it computes on the way

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
        *,
        subtract_values: bool = False,
        time_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, subtract_values)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.time = None if time_dim is None else nn.Linear(time_dim, dim)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """x: (rows, tokens, dim). time: (batch, time_dim) after its activation, each for rows / batch rows in turn."""
        if self.time is not None and time is not None:
            x = x + self.time(time).repeat_interleave(len(x) // len(time), dim=0)[:, None]
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out

    def ahead(self, x: Tensor) -> Tensor:
        """What (..., tokens, dim) adds to queries, keys and values, but for a division: (..., tokens, 3 x dim).

        The norm before them subtracts a mean, which is linear, and divides by a deviation, which can wait until after
        the projection. So the terms of a sum can be projected apart, each once however often it is part of a sum.
        """
        return F.linear((x - x.mean(dim=-1, keepdim=True)) * self.norm1.weight, self.attn.qkv.weight)

    def after(self, x: Tensor, ahead: Tensor) -> Tensor:
        """The block without a time embedding, in evaluation, where `ahead` of x is known."""
        scale = (x.var(dim=-1, correction=0, keepdim=True) + self.norm1.eps).rsqrt()
        shift = F.linear(self.norm1.bias, self.attn.qkv.weight, self.attn.qkv.bias)
        x = x + self.attn.mix(torch.addcmul(shift, ahead, scale))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that uses its running statistics, unchanged, if it sees a single value per channel, without a spread.

    The last layers do so if the last batch of an epoch is a single window. (batch, channels, time) to the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] * x.shape[2] > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class WeightedMean(nn.Module):
    """A learnt weight for each frame, and one bias for all channels. (batch, frames, ...) to (batch, 1, ...).

    As a convolution whose input channels are the frames (Zheng et al., ICCV 2021, section 3.3), and initialised as one.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        bound = frames**-0.5
        self.weight = nn.Parameter(torch.empty(1, frames, 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(1).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("f,bf...->b...", self.weight[0, :, 0], x)[:, None] + self.bias


def check_counts(**counts: int) -> None:
    """Raises ValueError, naming the count, if one is not a whole number of at least 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {count!r}")


@dataclass(frozen=True)
class Sizes:
    """Sizes of a transformer over joints and frames. Raises ValueError, naming the size, if one is invalid.

    frames, joints: of a window. dim: channels per token. depth: blocks over joints, and as many over frames. mlp_ratio:
    hidden channels of the MLPs per channel of a token. drop_path: rate of stochastic depth at the last block.
    """

    frames: int
    joints: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: float
    drop_path: float

    def __post_init__(self) -> None:
        check_counts(frames=self.frames, joints=self.joints, dim=self.dim, depth=self.depth, heads=self.heads)
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if int(self.dim * self.mlp_ratio) < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} leaves the MLP without a single unit")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop path rate {self.drop_path} is not in [0, 1)")

    @property
    def drop_path_rates(self) -> list[float]:
        """Stochastic depth of each block: it grows linearly from 0 to `drop_path` (after Huang et al., ECCV 2016)."""
        return [self.drop_path * level / max(self.depth - 1, 1) for level in range(self.depth)]


class SpatioTemporalEncoder(nn.Module):
    """Alternating attention over the joints of a frame and over the frames of a joint (MixSTE, CVPR 2022, section 3).

    (batch, frames, joints, dim) to the same. The two norms are shared by all levels, and the output of each is the
    residual stream of the next block. subtract_values, time_dim: as in `Block`.
    """

    def __init__(self, sizes: Sizes, *, subtract_values: bool = False, time_dim: int | None = None) -> None:
        super().__init__()
        self.joint_embedding = nn.Parameter(torch.zeros(1, sizes.joints, sizes.dim))
        self.frame_embedding = nn.Parameter(torch.zeros(1, sizes.frames, sizes.dim))

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                Block(sizes.dim, sizes.heads, sizes.mlp_ratio, rate, subtract_values=subtract_values, time_dim=time_dim)
                for rate in sizes.drop_path_rates
            )

        self.spatial_blocks = blocks()
        self.temporal_blocks = blocks()
        self.spatial_norm = nn.LayerNorm(sizes.dim, eps=1e-6)
        self.temporal_norm = nn.LayerNorm(sizes.dim, eps=1e-6)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """x: (batch, frames, joints, dim). time: (batch, time_dim) after its activation, or nothing."""
        frames, joints = x.shape[1:3]
        for level, (spatial, temporal) in enumerate(zip(self.spatial_blocks, self.temporal_blocks, strict=True)):
            x = rearrange(x, "batch frames joints c -> (batch frames) joints c").contiguous()
            if level == 0:
                x = x + self.joint_embedding
            x = self.spatial_norm(spatial(x, time))
            x = rearrange(x, "(batch frames) joints c -> (batch joints) frames c", frames=frames).contiguous()
            if level == 0:
                x = x + self.frame_embedding
            x = self.temporal_norm(temporal(x, time))
            x = rearrange(x, "(batch joints) frames c -> batch frames joints c", joints=joints)
        return x
