"""The mean pose of the training set, and of nothing else."""

from __future__ import annotations

import pandas as pd
import torch

from bench import build
from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset
from bench.geometry.skeleton import H36M_17


def test_it_predicts_the_mean_of_the_set_it_was_shown():
    poses = torch.randn(30, 17, 3, generator=torch.Generator().manual_seed(0))
    poses[:, 0] = 0
    table = pd.DataFrame([("S1", "walk", "walk", "c", 0, 30)], columns=list(SEQUENCE_COLUMNS))
    shown = PoseDataset("toy", "gt", 50, H36M_17, table, torch.zeros(30, 17, 2), poses, torch.zeros(30, 3), "0" * 64)
    method = build("mean_pose", frames=9)
    method.prepare(shown)
    lifted = method.lift(torch.randn(2, 9, 17, 2))
    assert lifted.shape == (2, 9, 17, 3)
    torch.testing.assert_close(lifted, poses.mean(dim=0).expand(2, 9, 17, 3))
    assert method.parameter_count == 0
