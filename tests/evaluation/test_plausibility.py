"""Poses in another unit, absolute, in other axes or joints: recognised, and never a bad method taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from samples import toy_dataset

from bench.data.windows import scored_windows
from bench.evaluation import Predictions, plausibility
from bench.geometry.skeleton import H36M_17
from bench.method import Window
from bench.system.errors import BenchError

DATASET = toy_dataset()
NOISE = np.random.default_rng(3).normal(0, 0.02, DATASET.poses_3d.shape)
GOOD = DATASET.poses_3d.numpy() + NOISE
AWAY = np.array([0, 0, 4.0])  # metres
SHUFFLED = np.random.default_rng(4).permutation(17)


def check(poses: np.ndarray) -> None:
    predictions = Predictions(Window(1), scored_windows(DATASET, Window(1)), poses.astype(np.float32)[:, None])
    plausibility.check(predictions, DATASET, "mine.npz")


def one_video(poses: np.ndarray) -> np.ndarray:
    changed = GOOD.copy()
    changed[40:80] = poses[40:80]
    return changed


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (GOOD * 1000, r"in metres\. In 'S1/sit 1/a' and 7 other videos .* millimetres; divide by 1000"),
        (GOOD * 100, r"centimetres; divide by 100"),
        (GOOD * 0, r"joints lie 0 from the root on average; in the data 0\.\d+ m\. It looks like another unit"),
        (one_video(GOOD * 1000), r"In 'S1/sit 1/b' joints lie"),
        (GOOD + AWAY, r"root-relative\. In 'S1/sit 1/a' and 7 .* lies 4\.0 m .* Subtract joint 0 \(pelvis\)"),
        (one_video(GOOD + 1.25 * AWAY), r"In 'S1/sit 1/b' the root lies 5\.0 m"),
        ((GOOD + AWAY) * 1000, r"millimetres"),
        (GOOD * [1, -1, -1], r"if its axes are taken as \(x, -y, -z\)$"),
        (GOOD[..., [0, 2, 1]] * [1, 1, -1], r"if its axes are taken as \(x, -z, y\)$"),
        (GOOD[:, list(H36M_17.mirror)], r"MPJPE is \d+ mm; it is \d+ mm if left and right joints are swapped$"),
        (GOOD[:, SHUFFLED], f"its joints are, in its own order, {', '.join(H36M_17.joints[j] for j in SHUFFLED)}$"),
        (
            GOOD[:, list(H36M_17.mirror)] * [-1, 1, 1],
            r"if its axes are taken as \(-x, y, z\) and left and right joints are swapped",
        ),
    ],
)  # fmt: skip
def test_a_good_prediction_seen_wrongly_is_refused_with_what_to_do(poses, message):
    with pytest.raises(BenchError, match=message) as caught:
        check(poses)
    assert str(caught.value).startswith("mine.npz: poses must be ")


@pytest.mark.parametrize(
    "poses",
    [
        GOOD,
        GOOD + 0.1 * AWAY,  # a root that is not zero is set to zero
        GOOD * 1.6,
        GOOD * 0.5,
        np.broadcast_to(GOOD.mean(axis=0), GOOD.shape),  # the mean pose
        GOOD[::-1],  # other people's poses
        np.random.default_rng(5).normal(0, 0.4, GOOD.shape),
    ],
    ids=["good", "root", "large", "small", "mean", "reversed", "random"],
)
def test_a_method_may_be_as_bad_as_it_likes(poses):
    check(poses)
