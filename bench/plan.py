"""The plan of a benchmark: which runs it asks for, what identifies each, and what is left to do.

A finished run is never repeated. What makes a run the same is hashed into its key: method, hyper-parameters, recipe,
protocol, seed, data, and the code that the method is made of. Its folder under the cache holds the checkpoints, the
test predictions and the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from bench import paths
from bench.config import Benchmark, MethodEntry, identity
from bench.cost import macs_per_frame
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import train_windows
from bench.errors import unknown
from bench.method import Method
from bench.registry import build, code_version, method_class
from bench.train import REVISION, resumable_epochs, training_window


@dataclass(frozen=True)
class Run:
    """One method with one seed, before it is done."""

    benchmark: Benchmark
    method: str
    entry: MethodEntry
    seed: int
    key: str

    @property
    def folder(self) -> Path:
        """Checkpoints, predictions and the record of this run; git-ignored."""
        return paths.cache() / "runs" / self.benchmark.name / self.name

    @property
    def name(self) -> str:
        return f"{self.method}-s{self.seed}-{self.key[:8]}"

    @property
    def record_file(self) -> Path:
        return self.folder / "record.json"

    @property
    def finished(self) -> bool:
        return self.record_file.is_file()

    @property
    def config_hash(self) -> str:
        """SHA-256 of protocol, hyper-parameters and recipe: what a reader of the YAML file would compare."""
        protocol = self.benchmark.protocol.model_dump(mode="json")
        return identity({"protocol": protocol, **self.entry.model_dump(mode="json")})

    @property
    def state(self) -> str:
        """What `bench run` will do with it."""
        if self.finished:
            return "finished"
        if not method_class(self.method).trainable:
            return "fit and test"
        epochs = resumable_epochs(self.folder)
        return f"go on after epoch {epochs}" if epochs else "train"

    def build(self, joints: int) -> Method:
        """The method, initialised from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return build(self.method, frames=self.benchmark.protocol.frames, joints=joints, **self.entry.model)


def plan(
    benchmark: Benchmark, dataset: PoseDataset, methods: Sequence[str] = (), seeds: Sequence[int] = (0,)
) -> list[Run]:
    """The runs of a benchmark, in the order they will be done. methods: some of the benchmark's (default: all)."""
    chosen = chosen_methods(benchmark, methods)
    runs = []
    for seed in seeds:
        for name, entry in chosen.items():
            key = identity(
                {
                    "method": name,
                    "model": entry.model,
                    "recipe": entry.recipe.model_dump(mode="json"),
                    "protocol": benchmark.protocol.model_dump(mode="json"),
                    "seed": seed,
                    "data": dataset.fingerprint,
                    "code": code_version(name),
                    "training": REVISION,
                }
            )
            runs.append(Run(benchmark, name, entry, seed, key))
    return runs


def chosen_methods(benchmark: Benchmark, methods: Sequence[str] = ()) -> dict[str, MethodEntry]:
    """The methods to run, in the benchmark's order. Raises BenchError for one that is not in it or not installed."""
    for method in methods:
        if method not in benchmark.methods:
            raise unknown(f"method of {benchmark.name}", method, benchmark.methods)
    chosen = {name: entry for name, entry in benchmark.methods.items() if not methods or name in methods}
    for name in chosen:
        method_class(name)
    return chosen


def describe(runs: Sequence[Run], dataset: PoseDataset, device: torch.device) -> str:
    """The plan as text: what is measured, then a line for each run."""
    benchmark = runs[0].benchmark
    protocol = benchmark.protocol
    training, testing = (dataset.subset(part) for part in (protocol.fitted_subjects, protocol.test_subjects))
    counting = "each counted once, root zeroed" + (", averaged with the mirrored input" if protocol.flip_test else "")
    notes = []
    if protocol.test_videos not in (None, len(testing.sequences)):
        notes = [f"  note        the whole test set has {protocol.test_videos} videos: no table will show these runs"]
    held_out = f", {', '.join(protocol.validation_subjects)} held out" if protocol.validation_subjects else ""
    lines = [
        f"{benchmark.name}: {benchmark.title}",
        f"  data        {dataset.name}, {dataset.keypoints} keypoints, {dataset.fps:g} fps",
        f"  train       {_amount(training)}{held_out}",
        f"  test        {_amount(testing)}, {counting}",
        f"  device      {device}",
        *notes,
        "",
    ]
    rows = []
    for run in runs:
        method = run.build(len(dataset.skeleton))
        recipe = run.entry.recipe
        windows = len(train_windows(training.lengths, training_window(method, recipe)))
        seen = windows * (2 if recipe.flip else 1)
        rows.append(
            {
                "run": run.name,
                "to do": run.state,
                "parameters": f"{method.parameter_count:,}",
                "MMACs/frame": f"{macs_per_frame(method, len(dataset.skeleton)) / 1e6:,.1f}",
                "epochs": recipe.epochs if method.trainable else "-",
                "steps/epoch": f"{-(-seen // recipe.batch_windows):,}" if method.trainable else "-",
                "weights": recipe.keep if method.trainable else "-",
            }
        )
    return "\n".join([*lines, tabulate(rows, headers="keys", stralign="right", disable_numparse=True)])


def _amount(dataset: PoseDataset) -> str:
    frames, videos = int(dataset.lengths.sum()), len(dataset.sequences)
    valid = len(dataset.counted)
    subjects = ", ".join(dict.fromkeys(dataset.sequences["subject"]))
    return f"{subjects}: {videos:,} videos, {frames:,} frames" + (f", {valid:,} valid" if valid < frames else "")
