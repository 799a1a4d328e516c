"""MixSTE: a feed-forward lifter that alternates attention over joints and over frames.

Zhang et al., "MixSTE: Seq2seq Mixed Spatio-Temporal Encoder for 3D Human Pose Estimation in Video", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from baselines.layers import Sizes, SpatioTemporalEncoder
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.method import Batch, Generators, Method, Window, in_float32
from bench.method.checkpoint import load_exactly

if TYPE_CHECKING:
    from bench.data.pose_dataset import PoseDataset

# Weight of each joint of Human3.6M in the loss; joints further out weigh more (section 3.3).
JOINT_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
# The same limbs in the order of MPI-INF-3DHP, for which the paper's authors published no code.
MPI_INF_3DHP_WEIGHTS = (1.5, 1, 1.5, 4, 4, 1.5, 4, 4, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1)

# The published implementation's names for our modules, longest first.
UPSTREAM_NAMES = {
    "Spatial_patch_to_embedding.": "embed.",
    "Spatial_pos_embed": "encoder.joint_embedding",
    "Temporal_pos_embed": "encoder.frame_embedding",
    "STEblocks.": "encoder.spatial_blocks.",
    "TTEblocks.": "encoder.temporal_blocks.",
    "Spatial_norm.": "encoder.spatial_norm.",
    "Temporal_norm.": "encoder.temporal_norm.",
    "head.0.": "norm.",
    "head.1.": "head.",
}


class MixSTENetwork(nn.Module):
    """(batch, frames, joints, 2) normalised keypoints to (batch, frames, joints, 3) metres, root-relative."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embed = nn.Linear(2, sizes.dim)
        self.encoder = SpatioTemporalEncoder(sizes)
        self.norm = nn.LayerNorm(sizes.dim)
        self.head = nn.Linear(sizes.dim, 3)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        return self._poses(self.encoder(self._tokens(keypoints_2d)))

    @in_float32
    def _tokens(self, keypoints_2d: Tensor) -> Tensor:
        tokens: Tensor = self.embed(keypoints_2d)
        return tokens

    @in_float32
    def _poses(self, features: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(features))
        return out


class MixSTE(Method):
    """MixSTE as run by its paper: every frame of the window at once, weighted joints, smooth and true velocities.

    square_loss_gradient: the published training code back-propagates the loss with itself as the incoming gradient,
    so that gradients are loss x gradient; true reproduces that.
    """

    name = "mixste"
    paper = "Zhang et al., CVPR 2022"
    licence = "none stated; parts CC BY-NC 4.0"
    as_published = {
        "model": {"square_loss_gradient": True},
        "recipe": {"window_layout": "centred", "keep": "best-test"},
    }

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        *,
        dim: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        square_loss_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.window = Window(frames, targets="all")
        self.square_loss_gradient = square_loss_gradient
        self.parts_add_up = not square_loss_gradient  # or else each part would need the loss of the whole
        self.network = MixSTENetwork(Sizes(frames, joints, dim, depth, heads, mlp_ratio, drop_path))
        weights = torch.tensor(JOINT_WEIGHTS if joints == len(JOINT_WEIGHTS) else [1.0] * joints)
        self.register_buffer("joint_weights", weights, persistent=False)

    def prepare(self, training: PoseDataset) -> None:
        if training.skeleton == MPI_INF_3DHP_17:
            self.get_buffer("joint_weights").copy_(torch.tensor(MPI_INF_3DHP_WEIGHTS))

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        poses: Tensor = self.network(keypoints_2d)
        return poses

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        losses = mixste_losses(
            self.network(batch.keypoints_2d),
            batch.poses_3d,
            self.get_buffer("joint_weights"),
            batch.supervised,
            batch.whole.supervised,
        )
        if self.square_loss_gradient:
            total = losses["total"]
            losses["total"] = total.detach() * (1 + total - total.detach())  # same value, gradient times total
        return losses

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return upstream_sizes(state)

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        load_exactly(self.network, state, UPSTREAM_NAMES)


@in_float32
def mixste_losses(
    predicted: Tensor,
    target: Tensor,
    joint_weights: Tensor,
    supervised: Tensor | None = None,
    counted: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of section 3.3: weighted MPJPE + 0.5 temporal consistency + 2 velocity error.

    predicted, target: (batch, frames, joints, 3) metres. supervised: (batch, frames); frames where it is false, and
    differences that touch one, do not count. Consistency is in m², the rest in m. counted: `supervised` of the whole
    batch, if the windows are a part of one: then their share in its means comes back.
    """
    if supervised is None:
        supervised = torch.ones(target.shape[:2], dtype=torch.bool, device=target.device)
    counted = supervised if counted is None else counted
    steps, counted_steps = _steps(supervised), _steps(counted)
    predicted_step, target_step = predicted.diff(dim=1), target.diff(dim=1)
    position = _mean(joint_weights * torch.linalg.vector_norm(predicted - target, dim=-1), supervised, counted)
    smoothness = _mean(joint_weights[:, None] * predicted_step**2, steps, counted_steps)
    velocity = _mean(torch.linalg.vector_norm(predicted_step - target_step, dim=-1), steps, counted_steps)
    return {
        "position": position,
        "smoothness": smoothness,
        "velocity": velocity,
        "total": position + 0.5 * smoothness + 2.0 * velocity,
    }


def _steps(supervised: Tensor) -> Tensor:
    """Where a frame and the one before it are both supervised. (batch, frames) to (batch, frames - 1)."""
    return supervised[:, 1:] & supervised[:, :-1]


def _mean(values: Tensor, where: Tensor, counted: Tensor) -> Tensor:
    """Sum over the frames where `where` holds, by the number that `counted` holds; zero if it holds nowhere.

    values: (batch, frames, ...). where: (batch, frames). counted: the same of the whole batch.
    """
    weights = where.reshape(where.shape + (1,) * (values.ndim - 2)).to(values.dtype)
    count = counted.to(values.dtype).sum() * (values[0, 0].numel() if values.shape[1] else 1)
    return (values * weights).sum() / count.clamp(min=1)


def upstream_sizes(state: Mapping[str, Tensor], blocks: str = "STEblocks") -> dict[str, Any]:
    """Sizes that the tensors of a published checkpoint determine. Heads are not stored; they were 8.

    blocks: what the spatial blocks are called; PoseFormer and its descendants share the other names.
    Raises ValueError naming the tensor that is missing.
    """
    try:
        hidden, dim = state[f"{blocks}.0.mlp.fc1.weight"].shape
        return {
            "frames": state["Temporal_pos_embed"].shape[1],
            "joints": state["Spatial_pos_embed"].shape[1],
            "dim": dim,
            "depth": 1 + max(int(key.split(".")[1]) for key in state if key.startswith(f"{blocks}.")),
            "mlp_ratio": hidden / dim,
            "heads": 8,
        }
    except KeyError as error:
        raise ValueError(f"the checkpoint lacks {error.args[0]}, which every published one holds") from None
