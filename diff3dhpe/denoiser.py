"""The denoiser of Diff3DHPE: MixSTE's encoder with GRAND attention, given the noisy pose and its diffusion step.

Zhou et al., "Diff3DHPE: A Diffusion Model for 3D Human Pose Estimation", ICCV Workshops 2023, section 3.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers import Sizes, SpatioTemporalEncoder, WeightedMean
from bench.method import in_float32


class TimeEmbedding(nn.Module):
    """Steps of the diffusion as vectors: sines, then cosines, then two linear maps. (batch,) to (batch, 2 dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        # The slowest wave has 1e-4 radians per step: the exponents run over half - 1 intervals.
        rates = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10000) / max(half - 1, 1)))
        self.register_buffer("rates", rates, persistent=False)
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.fc2 = nn.Linear(2 * dim, 2 * dim)

    def waves(self, timesteps: Tensor) -> Tensor:
        """(batch,) integer steps to (batch, dim)."""
        angles = timesteps[:, None].float() * self.get_buffer("rates")
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, timesteps: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.waves(timesteps))))
        return out


class Denoiser(nn.Module):
    """Clean poses from keypoints and noisy poses. Poses are divided by the pose scale, so they lie in [-1, 1].

    keypoints_2d (batch, frames, joints, 2), noisy_poses (batch, frames, joints, 3), timesteps (batch,) integers to
    (batch, frames, joints, 3). Without time embedding the timesteps have no effect. centre_only: noisy and clean poses
    are those of the centre frame, (batch, 1, joints, 3); every frame's keypoints see the same noisy pose.
    """

    def __init__(self, sizes: Sizes, time_embedding: bool, centre_only: bool = False) -> None:
        super().__init__()
        dim = sizes.dim
        if time_embedding and dim % 2:
            raise ValueError(f"dim {dim} is odd: the time embedding needs as many sines as cosines")
        self.fusion = nn.Linear(5, dim)
        self.time = TimeEmbedding(dim) if time_embedding else None
        time_dim = 2 * dim if time_embedding else None
        self.encoder = SpatioTemporalEncoder(sizes, subtract_values=True, time_dim=time_dim)
        self.weighted_mean = WeightedMean(sizes.frames) if centre_only else None
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 3)

    def forward(self, keypoints_2d: Tensor, noisy_poses: Tensor, timesteps: Tensor) -> Tensor:
        time = None if self.time is None else F.silu(self.time(timesteps))
        return self._poses(self.encoder(self._tokens(keypoints_2d, noisy_poses), time))

    @in_float32
    def _tokens(self, keypoints_2d: Tensor, noisy_poses: Tensor) -> Tensor:
        noisy_poses = noisy_poses.expand(-1, keypoints_2d.shape[1], -1, -1)
        tokens: Tensor = self.fusion(torch.cat([keypoints_2d, noisy_poses], dim=-1))
        return tokens

    @in_float32
    def _poses(self, features: Tensor) -> Tensor:
        if self.weighted_mean is not None:
            features = self.weighted_mean(features)
        out: Tensor = self.head(self.norm(features))
        return out
