"""The loss that lifters of one frame share: what counts, and what does not."""

from __future__ import annotations

import pytest
import torch

from baselines.losses import answered_mpjpe
from bench import Batch, Window


def batch_of(*supervised: bool) -> Batch:
    """Windows of 3 frames whose poses are (0, 0, 0), (3, 4, 0), (0, 0, 0) at every joint."""
    poses_3d = torch.tensor([0.0, 1.0, 0.0])[:, None, None] * torch.tensor([3.0, 4.0, 0.0])
    poses_3d = poses_3d.expand(len(supervised), 3, 17, 3)
    return Batch(torch.zeros(len(supervised), 3, 17, 2), poses_3d, torch.tensor(supervised)[:, None].expand(-1, 3))


def test_the_target_is_the_frame_that_the_window_answers_for():
    predicted = torch.zeros(2, 1, 17, 3)
    assert answered_mpjpe(predicted, batch_of(True, True), Window(3, targets="centre")) == 5
    assert answered_mpjpe(predicted, batch_of(True, True), Window(3, targets="last")) == 0


def test_the_root_counts():
    predicted = torch.full((1, 1, 17, 3), 0.0)
    predicted[..., 0, 2] = 17
    assert answered_mpjpe(predicted, batch_of(True), Window(3, targets="last")) == 1


def test_frames_that_are_not_supervised_do_not_count():
    predicted = torch.zeros(3, 1, 17, 3)
    predicted[1] = 100
    window = Window(3, targets="centre")
    assert answered_mpjpe(predicted, batch_of(True, False, True), window) == 5
    assert answered_mpjpe(predicted, batch_of(False, False, False), window) == 0


def test_predictions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="must be the same"):
        answered_mpjpe(torch.zeros(1, 3, 17, 3), batch_of(True), Window(3, targets="centre"))
