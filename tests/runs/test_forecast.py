"""What a benchmark is about to do: a line a run, and a time that comes out right within a factor."""

from __future__ import annotations

import pytest
import torch
import yaml
from samples import TOYS, toy_dataset

from bench import Batch, Method, Window, build
from bench.config import Recipe, load_benchmark
from bench.data import split
from bench.method.cost import training_macs
from bench.runs.forecast import Stopwatch, forecast
from bench.runs.launch import run_benchmark
from bench.runs.plan import make_plan

CPU = torch.device("cpu")


class Clock:
    """Time that passes only where a method says so."""

    def __init__(self) -> None:
        self.now = 0.0


class Slow(Method):
    """Takes a known time for every window."""

    name = "slow"

    def __init__(self, seconds: float, clock: Clock) -> None:
        super().__init__()
        self.window = Window(9)
        self.seconds, self.clock = seconds, (clock,)  # in a tuple: copies of the method share it
        self.scale = torch.nn.Parameter(torch.ones(()))

    def __deepcopy__(self, memo: object) -> Slow:
        return Slow(self.seconds, self.clock[0])

    def lift(self, keypoints_2d, *, generator=None):
        if keypoints_2d.device.type != "meta":  # there it is only counted
            self.clock[0].now += self.seconds * len(keypoints_2d)
        return torch.cat([keypoints_2d, keypoints_2d[..., :1]], dim=-1) * self.scale

    def loss(self, batch: Batch, generator=None):
        return {"total": (self.lift(batch.keypoints_2d) - batch.poses_3d).square().mean()}


@pytest.fixture(scope="module")
def data():
    return toy_dataset()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.runs.forecast.time.perf_counter", lambda: clock.now)
    monkeypatch.setattr(Stopwatch, "_rate", lambda self: 1e9)
    return clock


def windows(data) -> int:
    return sum(-(-int(length) // 9) for length in data.lengths)


def test_an_epoch_is_its_steps(data, clock):
    for flip in (False, True):
        estimate = Stopwatch(CPU, 17).epoch(Slow(0.5, clock), Recipe(batch_windows=4, flip=flip), data)
        assert estimate == pytest.approx(0.5 * windows(data) * (2 if flip else 1))


def test_testing_lifts_every_window_twice_if_mirrored(data, clock):
    for flip in (False, True):
        estimate = Stopwatch(CPU, 17).testing(Slow(0.5, clock), data, flip=flip)
        assert estimate == pytest.approx(0.5 * windows(data) * (2 if flip else 1))


def test_a_window_that_would_take_too_long_is_not_run(data, clock, monkeypatch):
    monkeypatch.setattr("bench.runs.forecast.TOO_LONG", -1.0)  # everything does
    method = build("mixste", frames=9, dim=16, depth=1, heads=2)
    monkeypatch.setattr(type(method), "lift", refuse_to_run)
    expected = windows(data) * 2 * training_macs(method, 17) / 1e9
    assert Stopwatch(CPU, 17).epoch(method, Recipe(), data) == pytest.approx(expected)
    assert clock.now == 0


def refuse_to_run(self, keypoints_2d, *, generator=None):
    raise AssertionError("it was run")


def test_the_rate_of_a_device_is_in_products_per_second():
    assert 1e6 < Stopwatch(CPU, 17)._rate() < 1e16


def test_estimating_changes_neither_the_method_nor_the_random_state(data, clock):
    method, state = build("mixste", frames=9, dim=16, depth=1, heads=2), torch.get_rng_state()
    weights = {key: value.clone() for key, value in method.state_dict().items()}
    Stopwatch(CPU, 17).epoch(method, Recipe(), data)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[key], value) for key, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_the_rows_of_a_finished_run_come_from_its_record(tmp_path, monkeypatch):
    """They say what an unfinished run's would, and nothing is counted for them."""
    path = tmp_path / "toys.yaml"
    path.write_text(yaml.safe_dump(TOYS), encoding="utf-8")
    data = toy_dataset()
    monkeypatch.setattr(split, "load_dataset", lambda *arguments: data)
    benchmark = load_benchmark(path)
    before = forecast(make_plan(benchmark), CPU)
    run_benchmark(benchmark, track=False, quiet=True, device="cpu")
    monkeypatch.setattr("bench.runs.forecast.macs_per_frame", refuse_to_run)
    monkeypatch.setattr("bench.runs.plan.Run.build", refuse_to_run)
    after = forecast(make_plan(benchmark), CPU)
    kept = [0, 2, 3, 4, 5, 6, 7]  # all but what is to be done, and its time
    found, expected = ([[row.split()[column] for column in kept] for row in rows(text)] for text in (after, before))
    assert found == expected
    assert all(row.split()[1] == "finished" and row.split()[-1] == "-" for row in rows(after))


def rows(text: object) -> list[str]:
    return [line.replace("fit and test", "fit-and-test") for line in str(text).splitlines() if "-s0-" in line]
