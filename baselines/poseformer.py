"""PoseFormer: a transformer over the joints of each frame, then one over the frames, lifts the centre frame.

Zheng et al., "3D Human Pose Estimation with Spatial and Temporal Transformers", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from baselines.layers import Block, Sizes, WeightedMean
from baselines.losses import answered_mpjpe
from baselines.mixste import upstream_sizes
from bench.method import Batch, Generators, Method, Report, Window, in_float32, over_windows, unreported
from bench.method.checkpoint import load_exactly

# The published implementation's names for our modules.
UPSTREAM_NAMES = {
    "Spatial_patch_to_embedding.": "embed.",
    "Spatial_pos_embed": "joint_embedding",
    "Temporal_pos_embed": "frame_embedding",
    "Spatial_blocks.": "spatial_blocks.",
    "blocks.": "temporal_blocks.",
    "Spatial_norm.": "spatial_norm.",
    "Temporal_norm.": "temporal_norm.",
    "head.0.": "norm.",
    "head.1.": "head.",
}


class PoseFormerNetwork(nn.Module):
    """(batch, frames, joints, 2) normalised keypoints to (batch, 1, joints, 3) metres, root-relative: the centre frame.

    First every joint is a token of `dim` channels, then every frame one of joints x dim. The stochastic depth of both
    stages grows linearly from 0 to `drop_path`; it drops single frames in the first stage and whole windows in the
    second.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        pose_dim = sizes.joints * sizes.dim

        def blocks(width: int) -> nn.Sequential:
            return nn.Sequential(*(Block(width, sizes.heads, sizes.mlp_ratio, rate) for rate in sizes.drop_path_rates))

        self.embed = nn.Linear(2, sizes.dim)
        self.joint_embedding = nn.Parameter(torch.zeros(1, sizes.joints, sizes.dim))
        self.spatial_blocks = blocks(sizes.dim)
        self.spatial_norm = nn.LayerNorm(sizes.dim, eps=1e-6)
        self.frame_embedding = nn.Parameter(torch.zeros(1, sizes.frames, pose_dim))
        self.temporal_blocks = blocks(pose_dim)
        self.temporal_norm = nn.LayerNorm(pose_dim, eps=1e-6)
        self.weighted_mean = WeightedMean(sizes.frames)
        self.norm = nn.LayerNorm(pose_dim)  # the bias of the mean shifts all channels alike: no effect
        self.head = nn.Linear(pose_dim, 3 * sizes.joints)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        expected = (self.frame_embedding.shape[1], self.joint_embedding.shape[1], 2)
        if keypoints_2d.shape[1:] != expected:  # sizes of 1 would be broadcast silently
            raise ValueError(f"a window is (frames, joints, 2) = {expected}, not {tuple(keypoints_2d.shape[1:])}")
        return self.over_frames(self.over_joints(keypoints_2d))

    def over_joints(self, keypoints_2d: Tensor) -> Tensor:
        """The stage in which frames are apart. (batch, any frames, joints, 2) to (batch, frames, joints x dim)."""
        x = rearrange(self._tokens(keypoints_2d), "batch frames joints c -> (batch frames) joints c")
        x = self.spatial_norm(self.spatial_blocks(x + self.joint_embedding))
        frames = keypoints_2d.shape[1]
        features: Tensor = rearrange(x, "(batch frames) joints c -> batch frames (joints c)", frames=frames)
        return features

    def over_frames(self, x: Tensor) -> Tensor:
        """The second stage, over the frames of a window. (batch, frames, joints x dim) to (batch, 1, joints, 3)."""
        return self._poses(self.temporal_norm(self.temporal_blocks(x + self.frame_embedding)))

    def over_prepared_frames(self, windows: Tensor, positions: Tensor) -> Tensor:
        """`over_frames` in evaluation. windows: (batch, frames, 4 x joints x dim), each frame followed by its `ahead`.

        positions: `ahead` of the frame embedding.
        """
        x, prepared = torch.split(windows, [self.frame_embedding.shape[-1], positions.shape[-1]], dim=-1)
        x = self.first.after(x + self.frame_embedding, prepared + positions)
        return self._poses(self.temporal_norm(self.temporal_blocks[1:](x)))

    @property
    def first(self) -> Block:
        """The first block over frames."""
        block = self.temporal_blocks[0]
        assert isinstance(block, Block)
        return block

    @in_float32
    def _tokens(self, keypoints_2d: Tensor) -> Tensor:
        tokens: Tensor = self.embed(keypoints_2d)
        return tokens

    @in_float32
    def _poses(self, features: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.weighted_mean(features)))
        return rearrange(out, "batch one (joints c) -> batch one joints c", c=3)


class PoseFormer(Method):
    """PoseFormer as run by its paper: attention within each frame, then over frames, for the pose of the centre frame.

    dim: channels per joint; a frame has joints x dim. depth: blocks of each of the two stages.
    """

    name = "poseformer"
    paper = "Zheng et al., ICCV 2021"
    licence = "none stated; parts CC BY-NC 4.0"
    as_published = {"recipe": {"keep": "best-test"}}
    parts_add_up = True

    def __init__(
        self,
        frames: int = 81,
        joints: int = 17,
        *,
        dim: int = 32,
        depth: int = 4,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.window = Window(frames, targets="centre")
        self.network = PoseFormerNetwork(Sizes(frames, joints, dim, depth, heads, mlp_ratio, drop_path))

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        poses: Tensor = self.network(keypoints_2d)
        return poses

    def lift_video(self, keypoints_2d: Tensor, *, report: Report = unreported) -> Tensor:
        network = self.network
        features = network.over_joints(keypoints_2d)
        prepared = torch.cat([features, network.first.ahead(features)], dim=-1)
        lift = partial(network.over_prepared_frames, positions=network.first.ahead(network.frame_embedding))
        return over_windows(lift, prepared, self.window, keypoints_2d.shape[2], report)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {"total": answered_mpjpe(self.network(batch.keypoints_2d), batch, self.window)}

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return upstream_sizes(state, blocks="Spatial_blocks")

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        load_exactly(self.network, state, UPSTREAM_NAMES)
