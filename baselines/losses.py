"""Losses that several lifters share."""

from __future__ import annotations

from torch import Tensor

from bench.method import Batch, Window, in_float32
from bench.metrics import mpjpe


@in_float32
def answered_mpjpe(predicted: Tensor, batch: Batch, window: Window) -> Tensor:
    """MPJPE of the frames that a method answers for, the root included; zero if none is supervised.

    predicted: (batch, frames that `window` answers for, joints, 3) metres. A scalar in metres comes back, of a part of
    a batch its share in the mean over the whole. Raises ValueError if the shape does not fit the batch. (Protocol 1 as
    a loss; Pavllo et al., CVPR 2019.)
    """
    supervised = batch.supervised[:, window.answered]
    errors = mpjpe(predicted, batch.poses_3d[:, window.answered], reduce="none")
    return (errors * supervised).sum() / batch.whole.supervised[:, window.answered].sum().clamp(min=1)
