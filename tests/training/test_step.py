"""One step: parts of a batch, recomputed activations and compiled networks learn what the plain step learns."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from samples import toy_dataset

from bench import Method, build
from bench.config import Recipe
from bench.data.windows import gather, train_windows
from bench.system.errors import BenchError
from bench.training import step
from bench.training.loop import Epoch, Job, fit, new_optimizer
from bench.training.step import Steps
from perf.memory import held_for_backward

CPU = torch.device("cpu")
SIZES = {"frames": 9, "dim": 16, "depth": 2, "heads": 2}
DETERMINISTIC = {  # without stochastic depth and dropout, whose draws follow the order of the parts
    "mixste": {"drop_path": 0.0},
    "diff3dhpe": {"drop_path": 0.0},
    "poseformer": {"dim": 4, "drop_path": 0.0},
}
BATCH_NORMS = {"videopose3d": {}, "pstmo": {}}


@pytest.fixture(scope="module")
def training():
    return toy_dataset().subset(["S1", "S2"])


def new(name: str, **changes) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = build(name, **(SIZES | changes))
        for parameter in method.parameters():  # embeddings start at zero and would hide others from the gradient
            parameter.data.add_(0.02 * torch.randn(parameter.shape))
        return method.train()


def recipe(**changes) -> Recipe:
    return Recipe.model_validate({"epochs": 2, "batch_windows": 7, "learning_rate": 1e-3} | changes)


def batch_of(training, method, windows=7):
    """Windows of which some are partly padding: their parts do not supervise equally many frames."""
    table = train_windows(training.lengths, replace(method.window, stride=3))[:windows]
    batch = gather(training, table, method.window)
    batch.supervised[2:4, 5:] = False
    batch.supervised[5] = False
    return batch


def learnt(method: Method, batch, **changes) -> tuple[dict[str, float], dict[str, torch.Tensor], torch.Tensor]:
    """Losses, gradients, and the state of the generator after one step."""
    stated = recipe(**changes)
    generator = torch.Generator().manual_seed(3)
    steps = Steps(method, new_optimizer(method, stated), stated, CPU, "train")
    with steps.prepared(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        losses = steps.take(batch, generator)
    gradients = {name: one.grad for name, one in method.named_parameters() if one.grad is not None}
    return {name: float(value) for name, value in losses.items()}, gradients, generator.get_state()


def assert_same(first, second, tolerance: float) -> None:
    assert first[0] == pytest.approx(second[0], rel=1e-5)
    assert first[1].keys() == second[1].keys()
    for name, gradient in first[1].items():
        scale = float(second[1][name].abs().max())
        torch.testing.assert_close(gradient, second[1][name], rtol=0, atol=tolerance * max(scale, 1.0))
    assert torch.equal(first[2], second[2])


@pytest.mark.parametrize("micro_batch", [1, 3, 7, 20])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_split_batch_has_the_gradients_of_the_whole(training, name, micro_batch):
    sizes = DETERMINISTIC[name]
    batch = batch_of(training, new(name, **sizes))
    whole = learnt(new(name, **sizes), batch)
    assert any(gradient.abs().max() > 1e-3 for gradient in whole[1].values())
    assert_same(learnt(new(name, **sizes), batch, micro_batch=micro_batch), whole, 1e-6)


def test_a_centre_only_denoiser_can_be_split_too(training):
    changes = {"targets": "centre", "drop_path": 0.0}
    batch = batch_of(training, new("diff3dhpe", **changes))
    whole = learnt(new("diff3dhpe", **changes), batch)
    assert_same(learnt(new("diff3dhpe", **changes), batch, micro_batch=2), whole, 1e-6)


@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batch_norms_see_whole_batches_only(training, name, tmp_path):
    with pytest.raises(BenchError, match=r"recipe.micro_batch cannot split its batches: its batch norms"):
        fit(new(name), Job(training, None, recipe(micro_batch=2), 0, tmp_path, CPU))
    assert not list(tmp_path.iterdir())


def test_losses_that_do_not_add_up_are_not_split(training):
    method = new("mixste", square_loss_gradient=True)
    with pytest.raises(BenchError, match=r"its losses do not add up \(parts_add_up is not set\)"):
        learnt(method, batch_of(training, method), micro_batch=2)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mixste", {"drop_path": 0.5}),
        ("diff3dhpe", {"drop_path": 0.5}),
        ("poseformer", {"dim": 4, "drop_path": 0.5}),
        ("pstmo", {"dropout": 0.3}),
    ],
)
def test_recomputed_activations_give_the_same_gradients_and_hold_less(training, name, changes):
    batch = batch_of(training, new(name, **changes))
    held = {}

    def counted(recomputed: bool):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda one: sizes.append(one.numel()) or one, lambda one: one):
            result = learnt(new(name, **changes), batch, checkpoint_activations=recomputed)
        held[recomputed] = len(sizes)
        return result

    assert_same(counted(True), counted(False), 0)
    assert held[True] < held[False] / 2
    method = new(name, **changes)
    learnt(method, batch, checkpoint_activations=True)
    assert not any("forward" in vars(module) for module in method.modules()), "methods are left as they were"


def test_nothing_to_recompute_is_said(training):
    method = new("videopose3d")
    with pytest.raises(BenchError, match=r"recipe.checkpoint_activations has no effect"):
        learnt(method, batch_of(training, method), checkpoint_activations=True)


@pytest.mark.parametrize("name", ["mixste", "diff3dhpe", "poseformer", "videopose3d", "pstmo"])
def test_a_compiled_method_learns_the_same_under_the_same_names(training, name, monkeypatch, capsys):
    sizes = DETERMINISTIC.get(name, {}) | ({"dropout": 0.0} if name in BATCH_NORMS else {}) | {"depth": 1}
    batch = batch_of(training, new(name, **sizes))
    traced: list[int] = []
    compiled = new(name, **sizes)

    def backend(graph, inputs):
        """Runs the operations as they were traced."""
        traced.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(step, "COMPILER", backend)
    torch._dynamo.reset()
    result = learnt(compiled, batch, compile=True)
    assert traced, "the networks that the loss calls are compiled"
    assert_same(result, learnt(new(name, **sizes), batch), 1e-6)
    assert compiled.state_dict().keys() == new(name, **sizes).state_dict().keys()
    assert "compiled; the first step took" in capsys.readouterr().err
    before = len(traced)
    with torch.no_grad():
        compiled.eval().lift(batch.keypoints_2d, generator=torch.Generator().manual_seed(0))
    assert len(traced) == before, "testing runs as written"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles with g++")
def test_the_default_compiler_learns_the_same(training):
    sizes = {"depth": 1, "drop_path": 0.0}
    batch = batch_of(training, new("mixste", **sizes))
    torch._dynamo.reset()
    compiled = learnt(new("mixste", **sizes), batch, compile=True)
    assert_same(compiled, learnt(new("mixste", **sizes), batch), 1e-5)


# Memory


def test_a_part_holds_its_share_of_the_activations(training):
    batch, method = batch_of(training, new("diff3dhpe"), windows=24), new("diff3dhpe")
    part = next(batch.parts(4))
    whole, split = (held_for_backward(lambda one, read=read: one.loss(read)["total"], method) for read in (batch, part))
    assert len(batch) == 24
    assert split <= 0.25 * whole


class Small:
    """Makes a method run out of memory with more than so many windows at a time."""

    def __init__(self, method: Method, windows: int) -> None:
        self.asked: list[int] = []
        loss = method.loss

        def limited(batch, generator=None):
            self.asked.append(len(batch))
            losses = loss(batch, generator)
            if len(batch) > windows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has")
            return losses

        method.loss = limited


def test_a_batch_is_halved_until_it_fits(training, capsys):
    method = new("diff3dhpe", drop_path=0.0)
    batch = batch_of(training, method)
    whole = learnt(new("diff3dhpe", drop_path=0.0), batch)
    small = Small(method, 2)
    assert_same(learnt(method, batch), whole, 1e-6)
    assert small.asked == [7, 4, 2, 2, 2, 1]
    said = capsys.readouterr().err
    assert "train: no memory for 7 windows at a time; going on with 4" in said
    assert "train: no memory for 4 windows at a time; going on with 2" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "videopose3d",
            r"no memory for a step of 7 windows \(CUDA out of memory\). It cannot be split: its batch norms",
        ),
        ("mixste", r"no memory for a step of 1 windows"),
    ],
)
def test_memory_that_no_split_can_save_is_the_users_to_find(training, name, message):
    method = new(name)
    Small(method, 0)
    with pytest.raises(BenchError, match=message):
        learnt(method, batch_of(training, method))


def test_what_fitted_is_remembered_and_resumed(training, tmp_path):
    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    whole, parts = (new("mixste", drop_path=0.3) for _ in range(2))
    small = Small(whole, 4)
    trained = fit(whole, Job(training, None, recipe(), 0, tmp_path / "whole", CPU))
    assert [epoch.micro_batch for epoch in trained.history] == [4, 4]
    Small(parts, 4)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, Job(training, None, recipe(), 0, tmp_path / "parts", CPU, on_epoch=stop))
    resumed = new("mixste", drop_path=0.3)
    again = Small(resumed, 4)
    fit(resumed, Job(training, None, recipe(), 0, tmp_path / "parts", CPU))
    assert small.asked[0] == 7
    assert max(again.asked) == 4, "the second epoch starts as the first ended"
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("changes", [{"micro_batch": 3}, {"checkpoint_activations": True}])
def test_a_resumed_training_with_an_option_equals_an_uninterrupted_one(training, tmp_path, changes):
    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    whole, parts, resumed = (new("diff3dhpe", drop_path=0.3) for _ in range(3))
    fit(whole, Job(training, None, recipe(**changes), 0, tmp_path / "whole", CPU))
    with pytest.raises(KeyboardInterrupt):
        fit(parts, Job(training, None, recipe(**changes), 0, tmp_path / "parts", CPU, on_epoch=stop))
    fit(resumed, Job(training, None, recipe(**changes), 0, tmp_path / "parts", CPU))
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))
