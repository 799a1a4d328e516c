"""Losses are read seldom, and lose nothing by it."""

from __future__ import annotations

import functools

import pytest
import torch
from samples import toy_dataset

from bench import Method, Window
from bench.config import Recipe
from bench.system.errors import BenchError
from bench.training import loop
from bench.training.loop import Job, fit, resumable_epochs
from bench.training.losses import Losses

CPU = torch.device("cpu")


def steps(count: int = 7) -> list[tuple[dict[str, torch.Tensor], int]]:
    source = torch.Generator().manual_seed(0)
    drawn = torch.rand(count, 2, generator=source)
    return [({"total": pair[0], "aside": pair[1]}, 4 if number < count - 1 else 3) for number, pair in enumerate(drawn)]


def test_means_do_not_depend_on_when_they_are_read():
    expected: dict[str, float] = {}
    for values, windows in steps():  # summed in double precision, step by step
        for name, value in values.items():
            expected[name] = expected.get(name, 0.0) + float(value) * windows
    for every in (1, 3, 7, 50):
        losses = Losses("toy", 0, CPU, every)
        for values, windows in steps():
            losses.add(values, windows)
        assert losses.means() == {name: value / 27 for name, value in expected.items()}


def test_losses_are_read_every_so_many_steps():
    losses, read = Losses("toy", 0, CPU, every=3), []
    for values, windows in steps():
        losses.add(values, windows)
        read.append(losses.latest.get("total"))
    totals = [float(values["total"]) for values, _ in steps()]
    assert read == [None, None, totals[2], totals[2], totals[2], totals[5], totals[5]]


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize(("name", "said"), [("total", "the loss"), ("aside", "the loss 'aside'")])
def test_divergence_is_reported_with_its_step_however_late(every, name, said):
    losses = Losses("toy", 2, CPU, every)

    def diverge() -> None:
        for number, (values, windows) in enumerate(steps()):
            values[name] = torch.tensor(float("nan") if number >= 4 else 1.0)
            losses.add(values, windows)
        losses.means()

    with pytest.raises(BenchError, match=rf"toy: {said} is nan in epoch 3, step 5; training diverged"):
        diverge()


def test_a_method_may_report_other_losses_in_other_steps():
    losses = Losses("toy", 0, CPU, every=10)
    losses.add({"total": torch.tensor(1.0)}, 1)
    losses.add({"total": torch.tensor(2.0), "rare": torch.tensor(8.0)}, 1)
    assert losses.means() == {"total": 1.5, "rare": 4.0}


class Diverging(Method):
    """Its loss is infinite in one step."""

    name = "diverging"

    def __init__(self, at: int) -> None:
        super().__init__()
        self.window = Window(9)
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.at, self.steps = at, 0

    def loss(self, batch, generator=None):
        self.steps += 1
        return {"total": self.weight * (float("inf") if self.steps == self.at else batch.keypoints_2d.abs().mean())}


@pytest.mark.parametrize("every", [1, 4, 1000])
def test_a_training_is_the_same_however_seldom_losses_are_read(tmp_path, monkeypatch, every):
    monkeypatch.setattr(loop, "Losses", functools.partial(Losses, every=every))
    training = toy_dataset().subset(["S1"])
    recipe = Recipe(epochs=3, batch_windows=4, learning_rate=1e-3)
    plain = Diverging(at=0)
    history = fit(plain, Job(training, None, recipe, 0, tmp_path / "plain", CPU)).history
    per_epoch = plain.steps // 3
    assert per_epoch > 4
    losses = Diverging(at=per_epoch + 2)
    with pytest.raises(BenchError, match="the loss is inf in epoch 2, step 2; training diverged"):
        fit(losses, Job(training, None, recipe, 0, tmp_path / "diverging", CPU))
    assert resumable_epochs(tmp_path / "diverging") == 1, "nothing of the second epoch is kept"
    monkeypatch.undo()
    again = fit(Diverging(at=0), Job(training, None, recipe, 0, tmp_path / "again", CPU)).history
    assert [epoch.loss for epoch in history] == [epoch.loss for epoch in again]
