"""What a benchmark is about to do: a line a run, and a time that comes out right within a factor."""

from __future__ import annotations

import time

import pytest
import torch
from samples import toy_dataset

from bench import Batch, Method, Window
from bench.config import Recipe
from bench.forecast import Stopwatch

CPU = torch.device("cpu")


class Slow(Method):
    """Takes a known time for every window."""

    name = "slow"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.window = Window(9)
        self.seconds = seconds
        self.scale = torch.nn.Parameter(torch.ones(()))

    def lift(self, keypoints_2d, *, generator=None):
        if keypoints_2d.device.type != "meta":  # there it is only counted
            time.sleep(self.seconds * len(keypoints_2d))
        return torch.cat([keypoints_2d, keypoints_2d[..., :1]], dim=-1) * self.scale

    def loss(self, batch: Batch, generator=None):
        return {"total": (self.lift(batch.keypoints_2d) - batch.poses_3d).square().mean()}


@pytest.fixture(scope="module")
def data():
    return toy_dataset()


def test_an_epoch_is_its_steps(data):
    recipe = Recipe(batch_windows=4, flip=True)
    windows = 2 * sum(-(-int(length) // 9) for length in data.lengths)
    estimate = Stopwatch(CPU, 17).epoch(Slow(0.002), recipe, data)
    assert 0.9 < estimate / (windows * 0.002) < 3  # sleeping never takes less, and seldom much more


def test_testing_lifts_every_window_twice_if_mirrored(data):
    stopwatch, method = Stopwatch(CPU, 17), Slow(0.002)
    plain, mirrored = (stopwatch.testing(method, data, flip=flip) for flip in (False, True))
    assert 1.2 < mirrored / plain < 3.3
    assert plain > 0.9 * 0.002 * sum(-(-int(length) // 9) for length in data.lengths)


def test_what_would_take_too_long_is_not_run(data, monkeypatch):
    monkeypatch.setattr("bench.forecast.TOO_LONG", -1.0)  # everything does
    stopwatch, method = Stopwatch(CPU, 17), Slow(10.0)
    started = time.monotonic()
    assert stopwatch.epoch(method, Recipe(), data) < 1  # it has no matrix products
    assert time.monotonic() - started < 5


def test_estimating_changes_neither_the_method_nor_the_random_state(data):
    method, state = Slow(0.0), torch.get_rng_state()
    Stopwatch(CPU, 17).epoch(method, Recipe(), data)
    assert torch.equal(torch.get_rng_state(), state)
    assert method.scale == 1
    assert method.scale.grad is None
