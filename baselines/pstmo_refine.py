"""P-STMO's refine module: mixes a lifted pose with one that lies on the camera's rays.

Shan et al., "P-STMO: Pre-trained Spatial Temporal Many-to-One Model for 3D Human Pose Estimation", ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from baselines.layers import check_counts
from bench.method.checkpoint import load_exactly, upstream_state

UPSTREAM_NAMES = {"post_refine.0.": "fc1.", "post_refine.3.": "fc2."}


class Refine(nn.Module):
    """Decides for each joint how far to trust the lifted x and y over those on the camera's ray.

    An oracle: `lifted_from_depth` needs the true depth of the root, at test time too. So it has no part in
    `PSTMO.lift`, and its scores do not compare with those of a lifter that sees keypoints only.
    """

    def __init__(self, joints: int = 17, dropout: float = 0.5) -> None:
        super().__init__()
        check_counts(joints=joints)
        self.fc1 = nn.Linear(6 * joints, 1024)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, 2 * joints)

    def forward(self, poses: Tensor, lifted_from_depth: Tensor) -> Tensor:
        """(batch, 1, joints, 3) twice, metres, root-relative, to the same. The depths are those of `poses`."""
        both = rearrange(
            torch.cat([poses, lifted_from_depth], dim=-1), "batch one joints axes -> batch one (joints axes)"
        )
        logits = self.fc2(self.dropout(F.relu(self.fc1(both))))
        trust = rearrange(logits.sigmoid(), "batch one (joints xy) -> batch one joints xy", xy=2)
        xy = trust * poses[..., :2] + (1 - trust) * lifted_from_depth[..., :2]
        return torch.cat([xy, poses[..., 2:]], dim=-1)

    @classmethod
    def from_upstream(cls, source: str | Path | Mapping[str, Any]) -> Refine:
        """The published weights, in a file or as a mapping of keys to tensors or arrays.

        Raises BenchError naming every key that is missing, not expected or of another shape.
        """
        state = upstream_state(source)
        module = cls(max(1, len(state["post_refine.3.bias"]) // 2) if "post_refine.3.bias" in state else 17)
        load_exactly(module, state, UPSTREAM_NAMES)
        return module.eval()


def lifted_from_depth(keypoints_2d: Tensor, poses: Tensor, root_depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Poses whose joints lie on the camera's rays, at the depths of other poses. Metres, root-relative.

    keypoints_2d: (batch, 1, joints, 2), normalised. poses: (batch, 1, joints, 3), root-relative and the root first;
    only its depths count. root_depth: (batch, 1), metres from the camera. intrinsics: (batch, 9) as
    `Camera.intrinsics`, of which the lens distortion is left out, as published.
    """
    relative = torch.cat([torch.zeros_like(poses[:, :, :1, 2:]), poses[:, :, 1:, 2:]], dim=2)
    depth = relative + root_depth[..., None, None]
    focal, centre = intrinsics[:, None, None, :2], intrinsics[:, None, None, 2:4]
    points = torch.cat([(keypoints_2d - centre) * depth / focal, depth], dim=-1)
    return points - points[:, :, :1]
