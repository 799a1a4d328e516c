"""Worse 2D: as much noise and as many missing joints as asked for, and the same whoever looks."""

from __future__ import annotations

import pytest
import torch
from samples import VIDEOS, toy_dataset

from bench.evaluation.corruption import with_dropped_joints, with_noise

LONG = (("S1", "sit", "sit 1", "a", 3000), ("S1", "sit", "sit 1", "b", 2000), ("S2", "sit", "sit 1", "a", 1000))


@pytest.mark.parametrize("half_widths", [0.0, 0.01, 0.2])
def test_noise_is_as_strong_as_asked_and_independent(half_widths):
    dataset = toy_dataset(LONG)
    noise = with_noise(dataset, half_widths).keypoints_2d - dataset.keypoints_2d
    assert float(noise.std()) == pytest.approx(half_widths, rel=0.01, abs=1e-7)
    assert float(noise.mean().abs()) <= 0.01 * half_widths
    if half_widths:
        table = noise.reshape(6000, -1)
        correlation = torch.corrcoef(table.T) - torch.eye(34)
        assert float(correlation.abs().max()) < 0.07  # joints and axes
        assert abs(float(torch.corrcoef(torch.stack([table[:-1].ravel(), table[1:].ravel()]))[0, 1])) < 0.01  # frames
        assert not torch.equal(noise[:1000], noise[3000:4000])  # videos


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.5, 1.0])
def test_joints_are_missing_as_often_as_asked_and_lie_in_the_middle(probability):
    dataset = toy_dataset(LONG)
    dropped = with_dropped_joints(dataset, probability).keypoints_2d
    missing = (dropped == 0).all(dim=-1) & (dataset.keypoints_2d != 0).any(dim=-1)
    rate = missing[:, 1:].float().mean(dim=0)  # the root of the toy lies in the middle anyway
    assert rate.tolist() == pytest.approx([probability] * 16, abs=0.03)
    assert float(rate.mean()) == pytest.approx(probability, abs=0.005)
    assert torch.equal(dropped[~missing], dataset.keypoints_2d[~missing])


@pytest.mark.parametrize("worsen", [with_noise, with_dropped_joints])
def test_what_is_drawn_follows_from_seed_video_and_setting_alone(worsen):
    dataset = toy_dataset(VIDEOS)
    before = dataset.keypoints_2d.clone()
    whole = worsen(dataset, 0.3)
    assert torch.equal(dataset.keypoints_2d, before), "the data set itself stays as it is"
    assert torch.equal(worsen(dataset, 0.3).keypoints_2d, whole.keypoints_2d)
    assert torch.equal(worsen(dataset.subset(["S3"]), 0.3).keypoints_2d, whole.subset(["S3"]).keypoints_2d)
    assert not torch.equal(worsen(dataset, 0.3, seed=1).keypoints_2d, whole.keypoints_2d)
    change, weaker = whole.keypoints_2d - before, worsen(dataset, 0.15).keypoints_2d - before
    assert not torch.allclose(weaker, change / 2)
    assert not torch.equal(weaker == 0, change == 0) or worsen is with_noise
    assert torch.equal(whole.poses_3d, dataset.poses_3d)
