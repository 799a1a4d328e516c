"""Many hypotheses made one: a method whose every sample is off by a known vector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import toy_dataset

from bench import Method, Window, build
from bench.evaluation import predict, score
from bench.evaluation.hypotheses import BEST, MEAN, REPROJECTED, Hypotheses, lift_hypotheses
from bench.geometry.camera import Camera, View
from bench.method import randn

# Its normalised screen coordinates are x / z and y / z, as the toy data's are.
PINHOLE = Camera("a", 1000, 1000, (500, 500), (500, 500), (0, 0, 0), (0, 0), (1, 0, 0, 0), (0, 0, 0))


class Wobbly(Method):
    """Knows flat people 4 m away exactly, and then moves each joint sideways by a number that it draws."""

    name = "wobbly"
    stochastic = True

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def lift(self, keypoints_2d, *, generator=None):
        keypoints_2d = keypoints_2d[:, self.window.answered]
        off = 0.1 * randn((*keypoints_2d.shape[:-1], 1), generator)
        flat = 4 * keypoints_2d
        return torch.cat([flat[..., :1] + off, flat[..., 1:], torch.zeros_like(off)], dim=-1)


def flat_dataset():
    """The toy people, all depth taken out of them."""
    dataset = toy_dataset()
    poses_3d = dataset.poses_3d * torch.tensor([1.0, 1.0, 0.0])
    return replace(dataset, poses_3d=poses_3d, keypoints_2d=poses_3d[..., :2] / 4)


@pytest.fixture(scope="module", params=[Window(9), Window(9, "centre")], ids=["all", "centre"])
def lifted(request):
    dataset, method = flat_dataset(), Wobbly(request.param)
    views = [PINHOLE] * len(dataset.sequences)
    return dataset, method, views


def metres_off(dataset, predictions):
    """(frames, joints): how far each joint is to the right of the truth, the root at zero."""
    off = predictions.per_frame(dataset)[..., 0] - dataset.poses_3d[..., 0].numpy()
    off[:, 0] = 0
    return off


def test_each_way_does_to_hypotheses_what_its_name_says(lifted):
    dataset, method, views = lifted
    ways = lift_hypotheses(method, dataset, views, 4, flip=False, seed=3)
    assert list(ways) == [MEAN, BEST, REPROJECTED]
    drawn = np.stack(
        [metres_off(dataset, predict(method, dataset, flip=False, seed=3, hypothesis=h)) for h in range(4)]
    )
    assert len({float(one.std()) for one in drawn}) == 4, "hypotheses differ"
    errors = {way: score(predictions, dataset).errors for way, predictions in ways.items()}
    np.testing.assert_allclose(errors[MEAN], 1000 * abs(drawn.mean(axis=0)), atol=0.01)
    poses = abs(drawn).mean(axis=2).argmin(axis=0)
    np.testing.assert_allclose(errors[BEST], 1000 * abs(drawn[poses, np.arange(len(poses))]), atol=0.01)
    np.testing.assert_allclose(errors[REPROJECTED], 1000 * abs(drawn).min(axis=0), atol=0.01)


def test_one_hypothesis_is_the_prediction_that_tables_show(lifted):
    dataset, method, views = lifted
    alone = predict(method, dataset, seed=1).poses_3d
    for predictions in lift_hypotheses(method, dataset, views, 1, seed=1).values():
        np.testing.assert_array_equal(predictions.poses_3d, alone)


def test_more_hypotheses_keep_those_of_fewer(lifted):
    dataset, method, views = lifted
    means = [score(lift_hypotheses(method, dataset, views, n)[BEST], dataset).errors.mean(1) for n in (1, 2, 5)]
    assert (means[1] <= means[0] + 1e-4).all()
    assert (means[2] <= means[1] + 1e-4).all()
    assert means[2].mean() < means[0].mean()


def test_a_method_that_does_not_sample_is_its_own_mean():
    torch.manual_seed(0)
    dataset, method = toy_dataset(), build("mixste", frames=9, dim=16, depth=1, heads=2)
    views = [PINHOLE] * len(dataset.sequences)
    alone = predict(method, dataset).poses_3d
    for predictions in lift_hypotheses(method, dataset, views, 3).values():
        np.testing.assert_array_equal(predictions.poses_3d, alone)


def test_without_a_lens_nothing_is_reprojected(lifted):
    dataset, method, views = lifted
    assert list(lift_hypotheses(method, dataset, [View("b", 100, 100), *views[1:]], 2)) == [MEAN, BEST]


def test_more_hypotheses_are_added_to_those_lifted_already(lifted, monkeypatch):
    dataset, method, views = lifted
    counts = (1, 2, 5)
    expected = [lift_hypotheses(method, dataset, views, count, seed=2) for count in counts]
    numbers: list[int] = []
    monkeypatch.setattr(
        "bench.evaluation.hypotheses.predict",
        lambda *args, **options: numbers.append(options["hypothesis"]) or predict(*args, **options),
    )
    growing = Hypotheses(method, dataset, views, seed=2)
    found = [growing.combined(count) for count in counts]
    assert numbers == [0, 1, 2, 3, 4], "each is lifted once"
    for ways, alone in zip(found, expected, strict=True):  # those of fewer are not changed by those of more
        assert list(ways) == list(alone)
        for way, predictions in ways.items():
            np.testing.assert_array_equal(predictions.poses_3d, alone[way].poses_3d)
    with pytest.raises(ValueError, match="2 hypotheses cannot be combined: 5 have been already"):
        growing.combined(2)
