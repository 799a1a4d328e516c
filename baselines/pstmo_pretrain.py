"""Masked pose modelling, P-STMO's pre-training: recover 2D poses in which frames and joints are hidden.

Shan et al., "P-STMO: Pre-trained Spatial Temporal Many-to-One Model for 3D Human Pose Estimation", ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from baselines.layers import check_counts
from baselines.pstmo_network import UPSTREAM_NAMES as ENCODER_NAMES
from baselines.pstmo_network import (
    UPSTREAM_STACKED,
    Encoder,
    Head,
    Norm,
    TemporalTransformer,
    check_encoder_sizes,
    check_share,
    upstream_sizes,
)
from bench.method import Batch, Generators, Method, Window, in_float32
from bench.method.checkpoint import load_exactly

UPSTREAM_NAMES = {
    "Transformer_dec.model.": "decoder.",
    "dec_pos_embedding": "decoder_embedding",
    "spatial_mask_token": "joint_token",
    "mask_token": "frame_token",
    "encoder_to_decoder.": "to_decoder.",
    "encoder_LN.": "encoder_norm.",
    "fcn_dec.0.": "head.norm.",
    "fcn_dec.1.": "head.project.",
    **ENCODER_NAMES,
}


class Pretrainer(Method):
    """Masked pose modelling: the encoder sees some frames, a narrow decoder recovers all of them.

    Nothing is lifted, and no 3D pose is read: `PSTMO.adopt` takes the encoder over. Sizes, `step`, `dropout` and
    `copied_initialisation` are as in `PSTMO`; the decoder has one layer less and half the channels.
    frame_mask_ratio: share of frames that the encoder does not see. masked_joints: joints of each visible frame that a
    learnt token replaces. mask_every_joint: false never masks the last joint, as published.
    """

    name = "pstmo-pretrain"
    paper = "Shan et al., ECCV 2022"
    licence = "MIT; parts CC BY-NC 4.0"
    as_published = {"model": {"mask_every_joint": False, "copied_initialisation": True}}

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        *,
        dim: int = 256,
        depth: int = 3,
        heads: int = 8,
        hidden: int = 512,
        step: int = 1,
        dropout: float = 0.1,
        copied_initialisation: bool = False,
        frame_mask_ratio: float = 0.8,
        masked_joints: int = 2,
        mask_every_joint: bool = True,
    ) -> None:
        super().__init__()
        check_encoder_sizes(frames, joints, dim, depth, heads, hidden, step, dropout)
        if dim % (2 * heads):
            raise ValueError(f"dim {dim} is not a multiple of twice the heads {heads}, which the decoder needs")
        check_counts(hidden=hidden // 2)
        _check_masks(joints, frame_mask_ratio, masked_joints, mask_every_joint)
        self.window = Window(frames, targets="centre", step=step)
        self.encoder_sizes = {
            "frames": frames, "joints": joints, "dim": dim, "depth": depth, "heads": heads, "hidden": hidden,
        }  # fmt: skip
        self.frame_mask_ratio = frame_mask_ratio
        self.masked_joints = masked_joints
        self.mask_every_joint = mask_every_joint

        narrow = dim // 2
        self.encoder = Encoder(frames, joints, dim, depth, heads, hidden, dropout, copied_initialisation)
        self.encoder_norm = Norm(dim)
        self.to_decoder = nn.Linear(dim, narrow, bias=False)
        self.joint_token = nn.Parameter(torch.randn(1, 1, 2))
        self.frame_token = nn.Parameter(torch.randn(1, 1, narrow))
        self.decoder_embedding = nn.Parameter(torch.randn(1, frames, narrow))
        self.decoder = TemporalTransformer(narrow, depth - 1, heads, hidden // 2, dropout, copied_initialisation)
        self.head = Head(narrow, joints, axes=2)

    def forward(self, keypoints_2d: Tensor, frame_mask: Tensor, joint_mask: Tensor) -> Tensor:
        """Recover the keypoints of a window. (batch, frames, joints, 2) to the same, in the order of `visible_first`.

        frame_mask: (frames,), joint_mask: (frames, joints); true is hidden, the same in the whole batch.
        """
        order = visible_first(frame_mask)
        visible = order[: len(order) - int(frame_mask.sum())]
        masked = torch.where(joint_mask[..., None], self.joint_token, keypoints_2d)
        seen = self.to_decoder(self.encoder_norm(self.encoder(masked, visible)))
        unseen = self.frame_token.expand(len(seen), len(order) - len(visible), -1)
        decoded = self.decoder(torch.cat([seen, unseen], dim=1) + self.decoder_embedding[:, order])
        recovered: Tensor = self.head(decoded)
        return recovered

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        _, frames, joints, _ = batch.keypoints_2d.shape
        masks = draw_masks(
            frames, joints, self.frame_mask_ratio, self.masked_joints, self.mask_every_joint, generator=generator
        )
        frame_mask, joint_mask = (mask.to(batch.keypoints_2d.device) for mask in masks)
        recovered = self(batch.keypoints_2d, frame_mask, joint_mask)
        return {"total": masked_pose_loss(recovered, batch.keypoints_2d, frame_mask)}

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        raise NotImplementedError(f"{self.name} is a pre-training stage and lifts nothing: let pstmo adopt it")

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return upstream_sizes(state)

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        load_exactly(self, state, UPSTREAM_NAMES, UPSTREAM_STACKED)


def draw_masks(
    frames: int,
    joints: int,
    frame_mask_ratio: float,
    masked_joints: int,
    mask_every_joint: bool = True,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Which frames are hidden (frames,), and which joints of each frame (frames, joints); true is hidden.

    The numbers are exact: floor(frames * frame_mask_ratio) frames, `masked_joints` joints in every frame. All choices
    are equally likely, of all joints or, without mask_every_joint, of all but the last.
    Raises ValueError if no frame would stay visible or there are fewer joints to choose from.
    """
    choices = _check_masks(joints, frame_mask_ratio, masked_joints, mask_every_joint)
    device = generator.device if generator is not None else None
    frame_mask = torch.zeros(frames, dtype=torch.bool, device=device)
    hidden = torch.randperm(frames, generator=generator, device=device)[: int(frames * frame_mask_ratio)]
    frame_mask[hidden] = True
    joint_mask = torch.zeros(frames, joints, dtype=torch.bool, device=device)
    shuffled = torch.rand(frames, choices, generator=generator, device=device).argsort(dim=1)
    joint_mask.scatter_(1, shuffled[:, :masked_joints], value=True)
    return frame_mask, joint_mask


def _check_masks(joints: int, frame_mask_ratio: float, masked_joints: int, mask_every_joint: bool) -> int:
    """How many joints there are to choose from. Raises ValueError as `draw_masks` does."""
    check_share("frame_mask_ratio", frame_mask_ratio)
    choices = joints if mask_every_joint else joints - 1
    if not isinstance(masked_joints, int) or not 0 <= masked_joints <= choices:
        raise ValueError(f"masked_joints must be a whole number in 0..{choices}, not {masked_joints!r}")
    return choices


def visible_first(frame_mask: Tensor) -> Tensor:
    """Numbers of the frames, the visible before the hidden ones, each in time order. (frames,) to (frames,)."""
    order: Tensor = frame_mask.to(torch.int8).argsort(stable=True)
    return order


@in_float32
def masked_pose_loss(recovered: Tensor, keypoints_2d: Tensor, frame_mask: Tensor) -> Tensor:
    """Mean distance of the recovered keypoints from the true ones, hidden and visible alike. A scalar.

    recovered: (batch, frames, joints, 2) in the order of `visible_first`, keypoints_2d: the same in time order; both in
    normalised screen coordinates. frame_mask: (frames,).
    """
    errors: Tensor = torch.linalg.vector_norm(recovered - keypoints_2d[:, visible_first(frame_mask)], dim=-1)
    return errors.mean()
