"""The training loop: it learns, it can be stopped anywhere, and its numbers follow from the seed alone."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from samples import VIDEOS, toy_dataset

from bench import Method, Window, build
from bench.config import Recipe
from bench.data.windows import train_windows
from bench.evaluation import predict, score
from bench.method import checkpoint
from bench.system.errors import BenchError
from bench.training.loop import (
    Epoch,
    Job,
    epoch_windows,
    fit,
    learning_rate,
    new_optimizer,
    prepare,
    resumable_epochs,
    set_batch_norm_momentum,
    training_windows,
)

SIZES = {"frames": 9, "dim": 16, "depth": 2, "heads": 2}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return toy_dataset()


@pytest.fixture(scope="module")
def training(data):
    return data.subset(["S1", "S2"])


@pytest.fixture(scope="module")
def held_out(data):
    return data.subset(["S3"])


@pytest.fixture(autouse=True)
def one_thread():
    """Bit for bit needs sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new(name="mixste", seed=0, **changes) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, **(SIZES | changes))


def recipe(**changes) -> Recipe:
    return Recipe.model_validate({"epochs": 3, "batch_windows": 4, "learning_rate": 1e-3} | changes)


def train(method, training, folder, validation=None, seed=0, on_epoch=lambda epoch: None, **changes):
    stated = recipe(**changes)
    return fit(method, Job(training, validation, stated, seed=seed, folder=folder, device=CPU, on_epoch=on_epoch))


def same_weights(first: Method, second: Method) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def stop_after(epochs: int):
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch + 1 == epochs:
            raise KeyboardInterrupt

    return on_epoch


# It learns


@pytest.mark.parametrize("name", ["mixste", "diff3dhpe"])
def test_training_lowers_the_loss_and_the_error(data, training, held_out, tmp_path, name):
    method = new(name, drop_path=0.0)
    before = score(predict(method, held_out), held_out).summary["mpjpe"]
    trained = train(method, training, tmp_path, held_out, epochs=12, learning_rate=5e-3)
    losses = [epoch.loss["total"] for epoch in trained.history]
    assert losses[-1] < 0.6 * losses[0]
    after = score(predict(method, held_out), held_out).summary["mpjpe"]
    assert after < 0.6 * before
    mean = new("mean_pose")
    train(mean, training, tmp_path / "mean")
    assert after < 1.5 * score(predict(mean, held_out), held_out).summary["mpjpe"]


def test_each_epoch_is_reported_with_its_numbers(training, held_out, tmp_path):
    told: list[Epoch] = []
    trained = train(new(), training, tmp_path, held_out, on_epoch=told.append, learning_rate_decay=0.5)
    assert told == trained.history
    assert [epoch.epoch for epoch in told] == [0, 1, 2]
    assert [epoch.learning_rate for epoch in told] == [1e-3, 5e-4, 2.5e-4]
    assert all(epoch.loss.keys() == {"position", "smoothness", "velocity", "total"} for epoch in told)
    assert all(epoch.frames_per_second > 0 and epoch.validation_mpjpe_mm > 0 for epoch in told)
    assert trained.seconds == sum(epoch.seconds for epoch in told)


class Counted(Method):
    """Notes the batches that it is trained on."""

    name = "counted"

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[torch.Tensor] = []

    def loss(self, batch, generator=None):
        self.seen.append(batch.keypoints_2d.clone())
        return {"total": (self.weight - batch.keypoints_2d.mean()) ** 2}


def test_flipping_doubles_the_steps_and_shows_every_window_both_ways(training, tmp_path):
    windows = len(train_windows(training.lengths, Window(9)))
    steps = {}
    for flip in (False, True):
        method = Counted(Window(9))
        trained = train(method, training, tmp_path / str(flip), epochs=1, batch_windows=1, flip=flip)
        assert trained.windows == windows
        steps[flip] = method.seen
    assert (len(steps[False]), len(steps[True])) == (windows, 2 * windows)
    seen = sorted(float(batch[..., 0].sum()) for batch in steps[True])
    plain = [float(batch[..., 0].sum()) for batch in steps[False]]
    np.testing.assert_allclose(seen, sorted(plain + [-value for value in plain]), rtol=1e-4, atol=1e-4)


def test_the_order_differs_between_epochs_and_seeds(training, tmp_path):
    orders = []
    for seed in (0, 1):
        method = Counted(Window(9))
        train(method, training, tmp_path / str(seed), seed=seed, epochs=2, batch_windows=1, flip=False)
        seen = [float(batch.sum()) for batch in method.seen]
        half = len(seen) // 2
        assert sorted(seen[:half]) == sorted(seen[half:]), "each epoch sees every window once"
        orders += [seen[:half], seen[half:]]
    assert len({tuple(order) for order in orders}) == 4


def test_window_stride_sets_the_distance_of_training_windows(training, tmp_path):
    for stride in (3, 20):
        trained = train(new(), training, tmp_path / str(stride), epochs=1, window_stride=stride)
        assert trained.windows == len(train_windows(training.lengths, Window(9, stride=stride)))
    assert np.array_equal(training_windows(training, new(), recipe()), train_windows(training.lengths, Window(9)))
    centred = training_windows(training, new(), recipe(window_layout="centred"))
    assert np.array_equal(centred, train_windows(training.lengths, Window(9), "centred"))


def test_a_small_gradient_clip_slows_the_weights(training, tmp_path):
    """Adam forgets the scale of gradients but not their ratios: clipping to nothing leaves its epsilon in charge."""
    start = new(drop_path=0.0)
    moved = {}
    for clip in (None, 1e-9):
        method = new(drop_path=0.0)
        train(method, training, tmp_path / str(clip), epochs=1, weight_decay=0, gradient_clip=clip)
        pairs = zip(start.parameters(), method.parameters(), strict=True)
        moved[clip] = max(float((before - after).detach().abs().max()) for before, after in pairs)
    assert moved[1e-9] < 0.5 * moved[None]


# Stopping and going on


@pytest.mark.parametrize(
    ("name", "changes", "keep"),
    [
        ("mixste", {"drop_path": 0.5}, "best-validation"),
        ("diff3dhpe", {"drop_path": 0.5}, "last"),
    ],
)
@pytest.mark.parametrize("stopped", [2, 4])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    training, held_out, tmp_path, name, changes, keep, stopped
):
    whole, parts = new(name, **changes), new(name, **changes)
    uninterrupted = train(whole, training, tmp_path / "whole", held_out, epochs=4, keep=keep)
    with pytest.raises(KeyboardInterrupt):
        train(parts, training, tmp_path / "parts", held_out, epochs=4, keep=keep, on_epoch=stop_after(stopped))
    assert resumable_epochs(tmp_path / "parts") == stopped
    torch.randn(7)  # another process would be elsewhere in its global generator
    parts, told = new(name, seed=5, **changes), []
    resumed = train(parts, training, tmp_path / "parts", held_out, epochs=4, keep=keep, on_epoch=told.append)
    assert same_weights(whole, parts)
    assert [epoch.epoch for epoch in told] == [0, 1, 2, 3], "earlier epochs are told as well"
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in uninterrupted.history]
    errors = [[epoch.validation_mpjpe_mm for epoch in one.history] for one in (resumed, uninterrupted)]
    assert errors[0] == errors[1]
    assert (resumed.best_epoch, resumed.kept) == (uninterrupted.best_epoch, uninterrupted.kept)


def test_training_stopped_within_an_epoch_resumes_after_the_one_before(training, tmp_path, monkeypatch):
    whole, parts = new(), new()
    train(whole, training, tmp_path / "whole")
    calls = 0

    def interrupted(batch, generator=None):
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return type(parts).loss(parts, batch, generator)

    monkeypatch.setattr(parts, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(parts, training, tmp_path / "parts")
    assert 0 < resumable_epochs(tmp_path / "parts") < 3
    again = new(seed=5)
    train(again, training, tmp_path / "parts")
    assert same_weights(whole, again)


def test_stopped_between_the_best_and_the_last_checkpoint(training, held_out, tmp_path, monkeypatch):
    """The best weights are of an epoch that the last checkpoint does not know yet; it is done again."""
    whole, parts = new(), new()
    options = {"epochs": 3, "keep": "best-validation"}
    train(whole, training, tmp_path / "whole", held_out, **options)
    save = checkpoint.save

    def interrupted(content, path):
        if path.name == "last.pt" and len(content["history"]) == 2:
            raise KeyboardInterrupt
        save(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(parts, training, tmp_path / "parts", held_out, **options)
    assert resumable_epochs(tmp_path / "parts") == 1
    train(parts, training, tmp_path / "parts", held_out, **options)
    assert same_weights(whole, parts)


def test_a_finished_training_is_not_repeated(training, held_out, tmp_path):
    first, second = new(), new(seed=5)
    done = train(first, training, tmp_path, held_out)
    before = (tmp_path / "last.pt").read_bytes()
    again = train(second, training, tmp_path, held_out)
    assert again == done
    assert same_weights(first, second)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_nothing_is_resumable_where_nothing_was_done(tmp_path):
    assert resumable_epochs(tmp_path) == 0
    assert resumable_epochs(tmp_path / "nowhere") == 0


# Seeds


@pytest.mark.parametrize("name", ["mixste", "diff3dhpe"])
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(training, tmp_path, name):
    methods = [new(name, drop_path=0.3) for _ in range(3)]
    for number, (method, seed) in enumerate(zip(methods, (0, 0, 1), strict=True)):
        torch.randn(number)
        train(method, training, tmp_path / str(number), seed=seed, epochs=2)
    assert same_weights(methods[0], methods[1])
    assert not same_weights(methods[0], methods[2])


@pytest.mark.parametrize("name", ["mixste", "diff3dhpe"])
def test_no_global_generator_is_touched(training, held_out, tmp_path, name):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    train(new(name, drop_path=0.3), training, tmp_path, held_out, epochs=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


# Which weights are kept


@pytest.fixture
def worsening(monkeypatch):
    """Validation finds the second of three epochs the best."""
    errors = iter([30.0, 20.0, 25.0, 40.0])
    monkeypatch.setattr("bench.training.loop._validate", lambda *_: next(errors))


@pytest.mark.usefixtures("worsening")
@pytest.mark.parametrize("keep", ["last", "best-validation"])
def test_the_recipe_says_which_weights_are_kept(training, held_out, tmp_path, keep):
    method, weights = new(), []
    trained = train(
        method,
        training,
        tmp_path,
        held_out,
        keep=keep,
        on_epoch=lambda epoch: weights.append({key: value.clone() for key, value in method.state_dict().items()}),
    )
    assert (trained.best_epoch, trained.kept) == (1, keep)
    kept = weights[2 if keep == "last" else 1]
    assert all(torch.equal(kept[key], value) for key, value in method.state_dict().items())
    assert checkpoint.load(tmp_path / "best.pt")["epoch"] == 1


def test_without_held_out_subjects_the_last_weights_are_kept(training, tmp_path):
    trained = train(new(), training, tmp_path, keep="best-validation")
    assert (trained.best_epoch, trained.kept) == (None, "last")
    assert not (tmp_path / "best.pt").exists()
    assert [epoch.validation_mpjpe_mm for epoch in trained.history] == [None] * 3


def test_the_validation_error_is_that_of_the_held_out_subjects(training, held_out, tmp_path):
    method = new()
    trained = train(method, training, tmp_path, held_out, epochs=1)
    expected = score(predict(method, held_out, flip=False), held_out).summary["mpjpe"]
    assert trained.history[0].validation_mpjpe_mm == pytest.approx(expected, abs=1e-6)


# What does not train


def test_a_loss_that_is_nan_is_reported_with_advice(training, tmp_path):
    method = new()
    method.network.head.bias.data[0] = math.nan
    with pytest.raises(BenchError, match=r"mixste: the loss 'position' is nan in epoch 1, step 1; .*gradient_clip"):
        train(method, training, tmp_path)
    assert not (tmp_path / "last.pt").exists(), "a broken epoch is not what a resumed run goes on from"


class Talkative(Method):
    """Has a loss beside its total which is not finite in one step."""

    name = "talkative"

    def __init__(self, broken_at: int | None = None, value: float = math.inf) -> None:
        super().__init__()
        self.window = Window(9)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.broken_at, self.value, self.steps = broken_at, value, 0

    def loss(self, batch, generator=None):
        self.steps += 1
        aside = torch.tensor(self.value if self.steps == self.broken_at else 1.0)
        return {"total": (self.weight - 1) ** 2, "aside": aside}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_training_stops_at_the_step_where_any_loss_is_not_finite(training, tmp_path, value):
    per_epoch = math.ceil(epoch_windows(len(train_windows(training.lengths, Window(9))), recipe()) / 4)
    broken = Talkative(per_epoch + 2, value)
    with pytest.raises(BenchError, match=rf"talkative: the loss 'aside' is {value} in epoch 2, step 2; "):
        train(broken, training, tmp_path)
    assert broken.steps == per_epoch + 2
    assert resumable_epochs(tmp_path) == 1, "the epoch before it is kept"
    assert len(train(Talkative(), training, tmp_path).history) == 3


def test_a_checkpoint_with_nan_in_its_history_can_be_resumed(training, tmp_path):
    """Earlier versions wrote such ones."""
    train(Talkative(), training, tmp_path, epochs=1)
    content = checkpoint.load(tmp_path / "last.pt")
    content["history"][0]["loss"]["aside"] = math.nan
    checkpoint.save(content, tmp_path / "last.pt")
    told: list[Epoch] = []
    trained = train(Talkative(), training, tmp_path, on_epoch=told.append)
    assert [math.isnan(epoch.loss["aside"]) for epoch in told] == [True, False, False]
    assert len(trained.history) == 3


def test_training_turns_tf32_off_and_restores_it(training, tmp_path):
    before, seen = torch.backends.cudnn.conv.fp32_precision, []

    class Curious(Talkative):
        def loss(self, batch, generator=None):
            seen.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))
            return super().loss(batch)

    train(Curious(), training, tmp_path, epochs=1)
    assert set(seen) == {("ieee", "ieee")}
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_a_mean_pose_needs_no_epoch(training, tmp_path):
    method = new("mean_pose")
    trained = train(method, training, tmp_path)
    assert (trained.history, trained.best_epoch, trained.kept, trained.seconds) == ([], None, "none to train", 0)
    torch.testing.assert_close(method.pose, training.poses_3d.double().mean(0).float())
    assert list(tmp_path.iterdir()) == []


def test_only_training_data_is_seen(data, tmp_path):
    """Statistics of the data come from the training subjects."""
    one = data.subset(["S1"])
    method = new("diff3dhpe")
    train(method, one, tmp_path, epochs=1)
    assert method.pose_scale == one.poses_3d.abs().max()
    assert sum(video[-1] for video in VIDEOS if video[0] == "S1") == len(one.poses_3d)


# The optimisers and schedules of the papers


def test_the_optimiser_is_the_one_of_the_recipe():
    adam = new_optimizer(new(), recipe(optimizer="adam-amsgrad", weight_decay=0))
    assert type(adam) is torch.optim.Adam
    assert adam.defaults["amsgrad"]
    adamw = new_optimizer(new(), recipe())
    assert type(adamw) is torch.optim.AdamW
    assert not adamw.defaults["amsgrad"]
    for optimizer in (adam, adamw):
        assert optimizer.defaults["betas"] == (0.9, 0.999)
        assert optimizer.defaults["eps"] == 1e-8
        assert len(optimizer.param_groups) == 1


def test_the_learning_rate_decays_every_epoch_and_by_a_larger_factor_at_intervals():
    """P-STMO: times the decay after every epoch, times another factor instead where the epoch is a multiple of some."""
    stated = recipe(learning_rate=1.0, learning_rate_decay=0.9, large_decay_every=3, large_decay=0.5)
    expected, rate = [], 1.0
    for epoch in range(1, 9):  # as the published loop counts
        expected.append(rate)
        rate *= 0.5 if epoch % 3 == 0 else 0.9
    assert [learning_rate(stated, done) for done in range(8)] == pytest.approx(expected)
    plain = recipe(learning_rate=1.0, learning_rate_decay=0.9)
    assert [learning_rate(plain, done) for done in range(4)] == pytest.approx([1, 0.9, 0.81, 0.729])


def test_batch_norm_momentum_decays():
    """VideoPose3D: 0.1 exp(-(e / E) ln 100) after e of E epochs, of every batch norm."""
    method = new("videopose3d")
    norms = [module for module in method.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    stated = recipe(epochs=60, batch_norm_momentum=[0.1, 0.001])
    for done in (0, 1, 59):
        set_batch_norm_momentum(method, stated, done)
        expected = 0.1 * math.exp(-done / 60 * math.log(100))
        assert [norm.momentum for norm in norms] == pytest.approx([expected] * len(norms))
    assert norms[0].momentum == pytest.approx(0.00108, abs=5e-6)
    untouched = new("videopose3d")
    set_batch_norm_momentum(untouched, recipe(), 5)
    assert {module.momentum for module in untouched.modules() if isinstance(module, torch.nn.BatchNorm1d)} == {0.1}


def test_the_last_batch_can_be_left_out(training, tmp_path):
    for drop in (False, True):
        method = Counted(Window(9))
        train(method, training, tmp_path / str(drop), epochs=1, batch_windows=5, drop_last=drop)
        sizes = [len(batch) for batch in method.seen]
        windows = 2 * len(train_windows(training.lengths, Window(9)))
        assert windows % 5, "there is a batch to leave out"
        assert sizes == [5] * (windows // 5) + ([] if drop else [windows % 5])
    assert epoch_windows(3, recipe(batch_windows=64, drop_last=True)) == 6, "a lone batch is not left out"


@pytest.mark.parametrize("name", ["videopose3d", "poseformer", "pstmo"])
def test_methods_that_lift_one_frame_learn_too(data, training, held_out, tmp_path, name):
    sizes = {"videopose3d": {"dim": 32, "dropout": 0.0}, "poseformer": {"dim": 4}, "pstmo": {"dropout": 0.0}}[name]
    method = new(name, **sizes)
    before = score(predict(method, held_out, flip=False), held_out).summary["mpjpe"]
    trained = train(method, training, tmp_path, epochs=3, learning_rate=3e-3, optimizer="adam-amsgrad", weight_decay=0)
    assert trained.history[-1].loss["total"] < trained.history[0].loss["total"]
    assert score(predict(method, held_out, flip=False), held_out).summary["mpjpe"] < before


def test_statistics_of_test_subjects_are_for_published_recipes_only(data, held_out):
    method = new("diff3dhpe", scale_over="everything")
    with pytest.raises(BenchError, match=r"take a statistic from the test subjects too.*as_published: true"):
        prepare(method, held_out, None)
    prepare(method, held_out, data)
    assert method.pose_scale == data.poses_3d.abs().max()
    assert method.pose_scale > held_out.poses_3d.abs().max()
