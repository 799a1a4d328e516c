"""P-STMO: lifts the centre frame of a window, with an encoder that was pre-trained to recover masked 2D poses.

Shan et al., "P-STMO: Pre-trained Spatial Temporal Many-to-One Model for 3D Human Pose Estimation", ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.layers import check_counts
from baselines.pstmo_network import UPSTREAM_NAMES as ENCODER_NAMES
from baselines.pstmo_network import (
    UPSTREAM_STACKED,
    Encoder,
    Head,
    StridedTransformer,
    check_encoder_sizes,
    upstream_sizes,
)
from baselines.pstmo_pretrain import Pretrainer
from bench.method import Batch, Generators, Method, Report, Window, in_float32, over_windows, unreported
from bench.method.checkpoint import load_exactly

# Frames of a window -> strides of the layers that shorten it to one token.
STRIDES = {9: (1, 3, 3), 27: (3, 3, 3), 81: (3, 3, 3, 3), 243: (3, 3, 3, 3, 3), 351: (3, 9, 13)}

UPSTREAM_NAMES = {
    "Transformer_reduce.model.pos_embedding_1": "strided.frame_embeddings.0",
    "Transformer_reduce.model.pos_embedding_2": "strided.frame_embeddings.1",
    "Transformer_reduce.model.pos_embedding_3": "strided.frame_embeddings.2",
    "Transformer_reduce.model.": "strided.",
    "fcn.0.": "centre.norm.",
    "fcn.1.": "centre.project.",
    "fcn_1.0.": "every_frame.norm.",
    "fcn_1.1.": "every_frame.project.",
    **ENCODER_NAMES,
}


class STMONetwork(nn.Module):
    """(batch, frames, joints, 2) normalised keypoints to (batch, 1, out_joints, 3) metres, root-relative."""

    def __init__(
        self,
        frames: int,
        joints: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        strides: Sequence[int],
        dropout: float,
        out_joints: int,
        copied_initialisation: bool,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(frames, joints, dim, depth, heads, hidden, dropout, copied_initialisation)
        self.strided = StridedTransformer(frames, dim, heads, hidden, strides, dropout, copied_initialisation)
        self.every_frame = Head(dim, out_joints, axes=3)
        self.centre = Head(dim, out_joints, axes=3)

    def both(self, keypoints_2d: Tensor) -> tuple[Tensor, Tensor]:
        """Poses of every frame (batch, frames, out_joints, 3), and of the centre (batch, 1, out_joints, 3)."""
        features = self.encoder(keypoints_2d)
        return self.every_frame(features), self.centre(self.strided(features))

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        return self.both(keypoints_2d)[1]  # as published, lifting computes the other head too: 0.4 % of the products

    def over_frames(self, features: Tensor) -> Tensor:
        """What follows the spatial MLP. (batch, frames, dim) to (batch, 1, out_joints, 3): the centre alone."""
        poses: Tensor = self.centre(self.strided(self.encoder.over_frames(features)))
        return poses


class PSTMO(Method):
    """P-STMO, which answers for the centre of its window and in training for every frame too.

    dim, depth, heads, hidden: of the encoder; depth 4 is the paper's P-STMO, 3 its P-STMO-S. strides: of the layers
    that shorten the window to one token (default: the published ones of `frames`). step: frames of the video from one
    input frame to the next. out_joints: of the poses, if not those of the keypoints. copied_initialisation: start all
    layers, and in each the four projections of attention, as copies of one, as the published code does.

    A training batch of a single window has one token for the last batch norm and so no variance: that norm then uses
    its running statistics and leaves them as they are.
    """

    name = "pstmo"
    paper = "Shan et al., ECCV 2022"
    licence = "MIT; parts CC BY-NC 4.0"
    as_published = {"model": {"copied_initialisation": True}, "recipe": {"keep": "best-test"}}
    stages = {"pretrain": Pretrainer}

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        *,
        dim: int = 256,
        depth: int = 3,
        heads: int = 8,
        hidden: int = 512,
        strides: Sequence[int] | None = None,
        step: int = 1,
        dropout: float = 0.1,
        out_joints: int | None = None,
        copied_initialisation: bool = False,
    ) -> None:
        super().__init__()
        check_encoder_sizes(frames, joints, dim, depth, heads, hidden, step, dropout)
        out_joints = joints if out_joints is None else out_joints
        check_counts(out_joints=out_joints)
        self.window = Window(frames, targets="centre", step=step)
        # Sizes that pre-training must share, and settings that it takes over unless stated otherwise.
        self.encoder_sizes: dict[str, Any] = {
            "frames": frames, "joints": joints, "dim": dim, "depth": depth, "heads": heads, "hidden": hidden,
        }  # fmt: skip
        self.stage_defaults: dict[str, Any] = {
            "step": step,
            "dropout": dropout,
            "copied_initialisation": copied_initialisation,
        }
        self.strides = _strides_to_one(frames, strides)
        self.network = STMONetwork(
            **self.encoder_sizes,
            strides=self.strides,
            dropout=dropout,
            out_joints=out_joints,
            copied_initialisation=copied_initialisation,
        )

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        poses: Tensor = self.network(keypoints_2d)
        return poses

    def lift_video(self, keypoints_2d: Tensor, *, report: Report = unreported) -> Tensor:
        features = self.network.encoder.per_frame(keypoints_2d)
        return over_windows(self.network.over_frames, features, self.window, keypoints_2d.shape[2], report)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return pstmo_losses(*self.network.both(batch.keypoints_2d), batch.poses_3d)

    def networks(self) -> list[nn.Module]:
        return list(self.network.children())  # `loss` reads features between them

    def stage(self, name: str, **hyperparameters: Any) -> Method:
        """Stage "pretrain", a `Pretrainer` of the same encoder. hyperparameters: those that it does not share."""
        if name not in self.stages:
            return super().stage(name)
        for size in self.encoder_sizes.keys() & hyperparameters.keys():
            raise ValueError(f"{size} is that of the method itself: state it there")
        return Pretrainer(**self.encoder_sizes, **(self.stage_defaults | hyperparameters))

    def adopt(self, trained: Method) -> None:
        """Take over the encoder of a `Pretrainer`, running statistics included; everything else stays as it is.

        Raises ValueError if `trained` is something else, or if its encoder has other sizes.
        """
        if not isinstance(trained, Pretrainer):
            return super().adopt(trained)
        for name, size in self.encoder_sizes.items():
            if trained.encoder_sizes[name] != size:
                raise ValueError(f"{name} is {trained.encoder_sizes[name]} in {trained.name}, {size} in {self.name}")
        self.network.encoder.load_state_dict(trained.encoder.state_dict())

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        sizes = upstream_sizes(state)
        # Strides are not stored: published ones follow from `frames`, and others must be given.
        return sizes | ({"out_joints": len(state["fcn.1.bias"]) // 3} if "fcn.1.bias" in state else {})

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        strided = {key.split(".")[3] for key in state if key.startswith("Transformer_reduce.model.layers.")}
        if strided and len(strided) != len(self.strides):
            raise ValueError(
                f"the checkpoint has {len(strided)} layers with strides, which tensors do not tell, and the strides "
                f"here are {list(self.strides)}: give the right ones as `strides`"
            )
        load_exactly(self.network, state, UPSTREAM_NAMES, UPSTREAM_STACKED)


@in_float32
def pstmo_losses(every_frame: Tensor, centre: Tensor, target: Tensor) -> dict[str, Tensor]:
    """What fine-tuning minimises: MPJPE of every frame of the window, plus MPJPE of its centre. Metres.

    every_frame: (batch, frames, joints, 3). centre: (batch, 1, joints, 3). target: (batch, frames, joints, 3),
    root-relative; the root counts, and so do frames that repeat the first or last one of a video, as published.
    """
    middle = target.shape[1] // 2
    losses = {
        "every_frame": torch.linalg.vector_norm(every_frame - target, dim=-1).mean(),
        "centre": torch.linalg.vector_norm(centre - target[:, middle : middle + 1], dim=-1).mean(),
    }
    return losses | {"total": losses["every_frame"] + losses["centre"]}


def _strides_to_one(frames: int, strides: Sequence[int] | None) -> tuple[int, ...]:
    """The strides of a window's layers. Raises ValueError if they are not known, or leave more than one frame."""
    if strides is None:
        if frames not in STRIDES:
            known = ", ".join(str(length) for length in STRIDES)
            raise ValueError(f"no strides were published for {frames} frames, only for {known}: give `strides`")
        return STRIDES[frames]
    if not isinstance(strides, Sequence) or isinstance(strides, str):
        raise ValueError(f"strides must be a list of whole numbers, not {strides!r}")
    left = frames
    for stride in strides:
        check_counts(strides=stride)
        left = -(-left // stride)
    if left != 1:
        raise ValueError(f"strides {list(strides)} leave {left} of {frames} frames; they must leave 1")
    return tuple(strides)
