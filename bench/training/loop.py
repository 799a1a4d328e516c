"""The training loop, one for all methods and stages. It writes a checkpoint after each epoch.

Everything random follows from (seed, epoch), so a run that was stopped and resumed ends with the same weights as one
that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.config.schema import Averaging, Recipe
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import Table, train_windows
from bench.evaluation.predictions import predict
from bench.evaluation.scoring import score
from bench.method import checkpoint
from bench.method.base import Method
from bench.system.device import float32_products
from bench.system.errors import BenchError
from bench.system.progress import Progress, duration, say
from bench.training.feed import Feed
from bench.training.losses import Losses
from bench.training.step import Steps

# Increased by hand when the loop computes something else: part of a run's identity.
TRAINING_REVISION = 1


@dataclass(frozen=True)
class Epoch:
    """The numbers of one epoch.

    loss: by name, mean over windows. validation_mpjpe_mm: None if nothing is held out. micro_batch: windows whose
    activations were held at a time; None: all of a batch.
    """

    epoch: int
    loss: dict[str, float]
    learning_rate: float
    validation_mpjpe_mm: float | None
    seconds: float
    frames_per_second: float
    micro_batch: int | None = None


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    windows: per epoch, without mirrored ones; None if not known. best_epoch: lowest validation error. kept: which
    weights the method holds.
    """

    history: list[Epoch]
    windows: int | None
    best_epoch: int | None
    kept: str

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.history)


@dataclass(frozen=True)
class Job:
    """One training: on which data, by which recipe, from which seed, where.

    validation: data that the best epoch is chosen on, by MPJPE, averaged over what `averaging` says. folder: gets
    `last.pt` after every epoch and `best.pt`; if it holds a `last.pt` already, training continues from it. label: of
    the progress bar. on_epoch: called with every epoch, those of an interrupted training included. everything: the data
    set with its test subjects, for a method that computes a statistic on it as published.
    """

    training: PoseDataset
    validation: PoseDataset | None
    recipe: Recipe
    seed: int
    folder: Path
    device: torch.device
    averaging: Averaging = "actions"
    label: str = "train"
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    everything: PoseDataset | None = None


def fit(method: Method, job: Job) -> Trained:
    """Train a method and leave it, on the job's device, with the weights that the recipe keeps.

    Raises BenchError if a loss is not finite, and for a method that computes a statistic on the test subjects under a
    recipe that is not as published.
    """
    recipe = job.recipe
    table = training_windows(job.training, method, recipe)
    prepare(method, job.training, job.everything if recipe.as_published else None)
    method.to(job.device)
    if not method.trainable:
        return Trained([], len(table), None, "none to train")
    optimizer = new_optimizer(method, recipe)
    steps = Steps(method, optimizer, recipe, job.device, job.label)
    history = _resume(method, optimizer, job.folder)
    if history:
        steps.micro_batch = history[-1].micro_batch
    for epoch in history:
        job.on_epoch(epoch)

    per_epoch = epoch_windows(len(table), recipe) * method.window.frames
    with Progress(job.label, recipe.epochs * per_epoch, done=len(history) * per_epoch) as progress, float32_products():
        feed = Feed(job.training, table, method.window, job.device, flip=recipe.flip)
        for number in range(len(history), recipe.epochs):
            started = time.monotonic()
            rate = learning_rate(recipe, number)
            for group in optimizer.param_groups:
                group["lr"] = rate
            set_batch_norm_momentum(method, recipe, number)
            loss = _run_epoch(method, job, feed, steps, rate, number, progress)
            spent = time.monotonic() - started
            error = _validate(method, job)
            seconds = time.monotonic() - started
            history.append(Epoch(number, loss, rate, error, seconds, per_epoch / spent, steps.micro_batch))
            _save(method, optimizer, history, job.folder)
            job.on_epoch(history[-1])
            say(f"{job.label}: {_line(history[-1], recipe.epochs)}", routine=True)
    best = _best(history)
    kept = recipe.keep if best is not None or recipe.keep == "last" else "last"
    if kept != "last":
        method.load_state_dict(checkpoint.load(job.folder / "best.pt")["method"])
    return Trained(history, len(table), best, kept)


def resumable_epochs(folder: Path) -> int:
    """The number of epochs that the checkpoint in a run's folder has completed."""
    last = folder / "last.pt"
    return len(checkpoint.load(last, lazily=True)["history"]) if last.is_file() else 0


def finished_training(folder: Path, recipe: Recipe) -> Trained | None:
    """The outcome of a training, from the checkpoint in its folder; None if it is not finished. No `windows`."""
    last = folder / "last.pt"
    if not last.is_file():
        return None
    history = [Epoch(**epoch) for epoch in checkpoint.load(last, lazily=True)["history"]]
    best = _best(history)
    kept = recipe.keep if best is not None or recipe.keep == "last" else "last"
    return Trained(history, None, best, kept) if len(history) >= recipe.epochs else None


def training_windows(training: PoseDataset, method: Method, recipe: Recipe) -> Table:
    """The windows of one epoch, unmirrored: the method's own, laid out and spaced as the recipe says."""
    window = method.window
    if recipe.window_stride is not None:
        window = replace(window, stride=recipe.window_stride)
    return train_windows(training.lengths, window, recipe.window_layout)


def epoch_windows(windows: int, recipe: Recipe) -> int:
    """The number of windows per epoch: with mirrored ones if the recipe flips, without a dropped last batch."""
    seen = windows * (2 if recipe.flip else 1)
    return seen - seen % recipe.batch_windows if recipe.drop_last and seen >= recipe.batch_windows else seen


def prepare(method: Method, training: PoseDataset, everything: PoseDataset | None) -> None:
    """Let a method compute its statistics of the data.

    Raises BenchError if it needs the test subjects too and must not see them (`everything` is None).
    """
    if method.prepares_on == "training":
        method.prepare(training)
    elif everything is not None:
        method.prepare(everything)
    else:
        raise BenchError(
            f"{method.name}: its hyper-parameters take a statistic from the test subjects too, as the published code "
            "does; only recipe.as_published: true may do that"
        )


def new_optimizer(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """An optimizer with one group: the same weight decay for all parameters, as in all of the papers."""
    options: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(method.parameters(), **options)
    return torch.optim.Adam(method.parameters(), amsgrad=True, **options)


def learning_rate(recipe: Recipe, epochs_done: int) -> float:
    """The rate of the next epoch: decayed after every epoch, and by `large_decay` instead after every so many."""
    large = epochs_done // recipe.large_decay_every if recipe.large_decay_every else 0
    return recipe.learning_rate * recipe.learning_rate_decay ** (epochs_done - large) * recipe.large_decay**large


def set_batch_norm_momentum(method: Method, recipe: Recipe, epochs_done: int) -> None:
    """Set the momentum of all batch norms, which decays by epoch (Pavllo et al., CVPR 2019, appendix)."""
    if recipe.batch_norm_momentum is None:
        return
    first, last = recipe.batch_norm_momentum
    for module in method.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = first * (last / first) ** (epochs_done / recipe.epochs)


def _run_epoch(
    method: Method, job: Job, feed: Feed, steps: Steps, rate: float, epoch: int, progress: Progress
) -> dict[str, float]:
    """One pass over all windows, mirrored ones included, in an order drawn for this epoch: the mean of every loss."""
    recipe, seed, device = job.recipe, job.seed, job.device
    rows = np.arange(feed.windows)
    order = np.random.default_rng([seed, epoch]).permutation(rows)[: epoch_windows(len(feed.table), recipe)]
    generator = torch.Generator().manual_seed(_mix(seed, epoch, 1))
    losses = Losses(method.name, epoch, device)
    method.train()
    # Dropout and stochastic depth draw from torch's global generators: seed those for the epoch, then put them back.
    with torch.random.fork_rng([device] if device.type == "cuda" else []), steps.prepared():
        torch.manual_seed(_mix(seed, epoch, 2))
        for batch in feed.batches(order, recipe.batch_windows):
            losses.add(steps.take(batch, generator), len(batch))
            latest = f"{losses.latest['total']:.4g}" if losses.latest else "not read yet"
            shown = {"epoch": str(epoch + 1), "loss": latest, "lr": f"{rate:.2g}"}
            progress.update(len(batch) * method.window.frames, **shown)
        return losses.means()


def _validate(method: Method, job: Job) -> float | None:
    """MPJPE in mm on the held-out subjects, averaged as the headline; not mirrored, as it only chooses an epoch."""
    if job.validation is None:
        return None
    predictions = predict(
        method, job.validation, flip=False, seed=job.seed, device=job.device, label=f"{job.label}, validation"
    )
    return score(predictions, job.validation, job.averaging, only=("mpjpe",)).summary["mpjpe"]


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _best(history: list[Epoch]) -> int | None:
    validated = [epoch for epoch in history if epoch.validation_mpjpe_mm is not None]
    return min(validated, key=lambda epoch: (epoch.validation_mpjpe_mm, epoch.epoch)).epoch if validated else None


def _save(method: Method, optimizer: torch.optim.Optimizer, history: list[Epoch], folder: Path) -> None:
    if _best(history) == history[-1].epoch:
        checkpoint.save({"method": method.state_dict(), "epoch": history[-1].epoch}, folder / "best.pt")
    content = {
        "method": method.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(epoch) for epoch in history],
    }
    checkpoint.save(content, folder / "last.pt")


def _resume(method: Method, optimizer: torch.optim.Optimizer, folder: Path) -> list[Epoch]:
    if not (folder / "last.pt").is_file():
        return []
    content = checkpoint.load(folder / "last.pt")
    method.load_state_dict(content["method"])
    optimizer.load_state_dict(content["optimizer"])
    return [Epoch(**epoch) for epoch in content["history"]]


def _line(epoch: Epoch, epochs: int) -> str:
    parts = [f"epoch {epoch.epoch + 1}/{epochs}", f"loss {epoch.loss['total']:.4g}", f"lr {epoch.learning_rate:.2g}"]
    if epoch.validation_mpjpe_mm is not None:
        parts.append(f"validation {epoch.validation_mpjpe_mm:.1f} mm")
    return "  ".join([*parts, f"{epoch.frames_per_second:,.0f} frames/s", duration(epoch.seconds)])
