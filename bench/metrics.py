"""Metrics: pure functions on tensors. Results have the unit of their input; the protocol averages over actions.

predicted, target: (..., joints, 3), root-relative poses in camera axes. reduce="none" gives one value per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bench.geometry.skeleton import MPI_INF_3DHP_GROUPS

Reduce = Literal["mean", "none"]

# MPI-INF-3DHP (Mehta et al., 3DV 2017): the joints that its official PCK and AUC count; pelvis, spine and head do not.
MPI_INF_3DHP_JOINTS = tuple(sorted(joint for group in MPI_INF_3DHP_GROUPS.values() for joint in group))
PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(5.0 * step for step in range(31))


def joint_errors(predicted: Any, target: Any) -> Tensor:
    """Distance per joint: two (..., joints, 3) to (..., joints). Raises ValueError if the shapes differ."""
    predicted, target = _pair(predicted, target)
    errors: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    return errors


def mpjpe(predicted: Any, target: Any, reduce: Reduce = "mean") -> Tensor:
    """Mean per-joint position error (Protocol 1). A scalar, or (...) with reduce="none"."""
    return _reduced(joint_errors(predicted, target).mean(dim=-1), reduce)


def p_mpjpe(predicted: Any, target: Any, reduce: Reduce = "mean") -> Tensor:
    """MPJPE after the best similarity transform of each frame (Protocol 2). A scalar, or (...) with reduce="none".

    Rotation, translation and scale, never a reflection (Umeyama, PAMI 1991). A predicted pose with all joints in one
    point has no scale: it is moved onto the target's mean.
    """
    predicted, target = _pair(predicted, target)
    target_mean = target.mean(dim=-2, keepdim=True)
    p, g = predicted - predicted.mean(dim=-2, keepdim=True), target - target_mean
    p_norm = torch.linalg.matrix_norm(p)[..., None, None]
    g_norm = torch.linalg.matrix_norm(g)[..., None, None]
    tiny = torch.finfo(p.dtype).tiny
    u, singular, vh = torch.linalg.svd((g / g_norm.clamp(min=tiny)).mT @ (p / p_norm.clamp(min=tiny)))
    # Where the determinant is negative, a reflection would fit better: flip the axis of the smallest singular value.
    sign = torch.ones_like(singular)
    sign[..., -1] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0)
    rotation = (vh.mT * sign[..., None, :]) @ u.mT
    scale = torch.where(
        p_norm > 0,
        (singular * sign).sum(-1)[..., None, None] * g_norm / p_norm.clamp(min=tiny),
        torch.zeros_like(p_norm),
    )
    return mpjpe(scale * p @ rotation + target_mean, target, reduce)


def n_mpjpe(predicted: Any, target: Any, reduce: Reduce = "mean") -> Tensor:
    """MPJPE after the best scale of each frame (Rhodin et al., CVPR 2018). A scalar, or (...) with reduce="none".

    Nothing is centred and the scale may be negative. A predicted pose that is all zero stays zero.
    """
    predicted, target = _pair(predicted, target)
    overlap = (predicted * target).sum(dim=(-2, -1), keepdim=True)
    power = (predicted * predicted).sum(dim=(-2, -1), keepdim=True)
    return mpjpe(predicted * (overlap / power.clamp(min=torch.finfo(power.dtype).tiny)), target, reduce)


def mpjve(predicted: Any, target: Any, reduce: Reduce = "mean", lengths: Sequence[int] | None = None) -> Tensor:
    """Mean per-joint velocity error: the error of the first difference along frames, in unit per frame.

    predicted, target: (..., frames, joints, 3). lengths: frames of each video where several lie end to end; no
    difference is taken across a border. reduce="none" gives one value per step, (..., frames - videos). A video of one
    frame has no velocity; if no step is left the mean is NaN. (Pavllo et al., CVPR 2019.)
    """
    return _reduced(_difference_errors("mpjve", 1, predicted, target, lengths), reduce)


def accel(predicted: Any, target: Any, reduce: Reduce = "mean", lengths: Sequence[int] | None = None) -> Tensor:
    """Mean per-joint acceleration error: the error of the second difference along frames, in unit per frame squared.

    It measures jitter. Each value belongs to the middle one of three frames; reduce="none" gives
    (..., frames - 2 * videos). The rest is as in `mpjve`. (Kanazawa et al., CVPR 2019.)
    """
    return _reduced(_difference_errors("accel", 2, predicted, target, lengths), reduce)


def pck(errors_mm: Any, reduce: Reduce = "mean", joints: Sequence[int] = MPI_INF_3DHP_JOINTS) -> Tensor:
    """3DPCK of MPI-INF-3DHP: percent of counted joints with an error below 150 mm, strictly.

    errors_mm: (frames, 17) in MPI-INF-3DHP order. joints: those to count; all frames and the official 14 joints are
    pooled (Mehta et al., 3DV 2017, and its evaluation script). A scalar, or (frames,) with reduce="none".
    """
    return _reduced(100 * _passed(errors_mm, PCK_THRESHOLD_MM, joints), reduce)


def auc(errors_mm: Any, reduce: Reduce = "mean", joints: Sequence[int] = MPI_INF_3DHP_JOINTS) -> Tensor:
    """Area under the 3DPCK curve: mean percent over the thresholds 0, 5, ..., 150 mm. Otherwise as `pck`."""
    passed = torch.stack([_passed(errors_mm, threshold, joints) for threshold in AUC_THRESHOLDS_MM])
    return _reduced(100 * passed.mean(dim=0), reduce)


def pck150(errors_mm: Any, reduce: Reduce = "mean", root: int | None = 0) -> Tensor:
    """PCK at 150 mm on any skeleton: percent of joints with an error below 150 mm, strictly.

    errors_mm: (frames, joints). root: the joint that poses are relative to; its error is zero by definition, so it does
    not count. None: all joints count. The official 3DPCK of MPI-INF-3DHP, over 14 joints, is `pck`.
    """
    errors = torch.as_tensor(errors_mm)
    if errors.ndim != 2:
        raise ValueError(f"errors are (frames, joints), not {tuple(errors.shape)}")
    counted = [joint for joint in range(errors.shape[1]) if joint != root]
    return _reduced(100 * _within(errors, PCK_THRESHOLD_MM, counted), reduce)


def _passed(errors_mm: Any, threshold: float, joints: Sequence[int]) -> Tensor:
    """Share of the counted joints of each frame of MPI-INF-3DHP whose error is below a threshold: (frames,)."""
    errors = torch.as_tensor(errors_mm)
    if errors.ndim != 2 or errors.shape[1] != 17:
        raise ValueError(f"errors of MPI-INF-3DHP are (frames, 17), not {tuple(errors.shape)}")
    return _within(errors, threshold, joints)


def _within(errors: Tensor, threshold: float, joints: Sequence[int]) -> Tensor:
    return (errors[:, list(joints)] < threshold).to(torch.float64).mean(dim=1)


def _difference_errors(name: str, order: int, predicted: Any, target: Any, lengths: Sequence[int] | None) -> Tensor:
    """Errors of the n-th differences along frames (n = order), without those across the border of two videos."""
    predicted, target = _pair(predicted, target)
    steps = mpjpe(predicted.diff(n=order, dim=-3), target.diff(n=order, dim=-3), reduce="none")
    if lengths is None:
        return steps
    ends = torch.as_tensor(list(lengths)).cumsum(0)
    if int(ends[-1]) != predicted.shape[-3]:
        raise ValueError(f"{name}: the lengths sum to {int(ends[-1])}, the poses have {predicted.shape[-3]} frames")
    inside = torch.ones(steps.shape[-1], dtype=torch.bool)
    for back in range(1, order + 1):
        across = ends[:-1] - back
        inside[across[(across >= 0) & (across < len(inside))]] = False
    return steps[..., inside.to(steps.device)]


def _pair(predicted: Any, target: Any) -> tuple[Tensor, Tensor]:
    predicted, target = torch.as_tensor(predicted), torch.as_tensor(target)
    if predicted.shape != target.shape or predicted.shape[-1] != 3:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} must be the same (..., joints, 3)"
        )
    return predicted, target


def _reduced(values: Tensor, reduce: Reduce) -> Tensor:
    if reduce not in ("mean", "none"):
        raise ValueError(f"reduce must be 'mean' or 'none', not {reduce!r}")
    return values.mean() if reduce == "mean" else values
