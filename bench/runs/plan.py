"""The plan of a benchmark: which runs it asks for, what identifies each, and what is left to do.

A finished run is never repeated. The key of a run is a hash of what identifies it (`bench.runs.identity`). Its folder
in the cache holds the checkpoints, the test predictions and the record. An earlier stage has a key and a folder of its
own, shared by runs that differ only in what follows it. Runs that differ only in accounting share a folder: one is
trained and tested, all are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench.config.accounting import SHARED, accounting_of
from bench.config.schema import Benchmark, MethodEntry, Stage, identity
from bench.data.split import Split
from bench.method import checkpoint
from bench.method.base import Method
from bench.method.registry import build, build_stage, method_class
from bench.method.weights import Weights, benchmark_path, load_weights
from bench.results import records
from bench.results.metrics import check_functions
from bench.results.records import Record
from bench.runs.identity import Keys, keys, settings_of
from bench.system import paths
from bench.system.errors import BenchError, unknown
from bench.training.loop import resumable_epochs
from bench.training.step import check_options


@dataclass(frozen=True)
class Plan:
    """What `bench run` will do: runs in order, and the data that they share."""

    benchmark: Benchmark
    split: Split
    runs: tuple[Run, ...]

    def check(self) -> None:
        """Raise BenchError, before any training, for sizes and options that do not fit, and text no record may hold."""
        joints = len(self.split.training.skeleton)
        for run in self.runs:
            if run.finished or run.predicted:
                continue
            records.check_portable(run.entry.model_dump(mode="json"), f"{self.benchmark.name}, {run.method}")
            method = run.build(joints)
            if not run.weights:
                check_options(method, run.settings.recipe)
            for stage in run.stages:
                learner = stage.build(method)
                if not stage.weights:
                    check_options(learner, stage.settings.recipe)

    def only(self, key: str) -> Plan:
        """The plan of the one run whose key begins with `key`. Raises BenchError if there is none, or are several."""
        found = [run for run in self.runs if run.key.startswith(key)]
        if not found:
            stages = {one.key: one for run in self.runs for one in run.stages if one.key.startswith(key)}
            if len(stages) == 1:
                raise BenchError(f"{key} is the stage {next(iter(stages.values())).name}; name the run that needs it")
        if len(found) != 1:
            known = ", ".join(f"{run.key[:8]} ({run.name})" for run in found or self.runs)
            which = "several runs" if found else "no run"
            raise BenchError(f"--only {key}: {which} of {self.benchmark.name} with that key; there are {known}")
        return Plan(self.benchmark, self.split, tuple(found))


def make_plan(
    benchmark: Benchmark,
    *,
    data: str | Path | None = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    weights: Mapping[str, Path] | None = None,
    imported: bool = True,
) -> Plan:
    """The plan of a benchmark, and its data.

    methods: some of the benchmark's (default: all). data: as `load_dataset`. weights: files of published weights,
    by method, to test instead of training; imported: also use those imported for this benchmark. Raises BenchError for
    errors caused by user input; wrong names and files are found before the data are read.
    """
    check_functions()  # of metrics: their errors are found before training
    published = published_weights(benchmark, chosen_methods(benchmark, methods), weights or {}, imported)
    split = Split.load(benchmark.protocol, data)
    made = Plan(benchmark, split, tuple(plan(benchmark, split, methods, seeds, published)))
    made.check()
    return made


@dataclass(frozen=True)
class StageRun:
    """An earlier stage of a run: what it trains before its method."""

    benchmark: Benchmark
    method: str
    stage: str
    settings: Stage  # with what `as_published` sets
    seed: int
    key: str
    weights: Weights | None = None  # published ones, instead of training

    @property
    def name(self) -> str:
        return f"{self.method}-{self.stage}-s{self.seed}-{self.key[:8]}"

    @property
    def folder(self) -> Path:
        """Checkpoints of this stage; git-ignored."""
        return paths.cache() / "runs" / self.benchmark.name / self.name

    @property
    def state(self) -> str:
        """What `bench run` will do with it."""
        if self.weights:
            return f"take {self.weights.origin.file}"
        epochs = resumable_epochs(self.folder)
        if epochs >= self.settings.recipe.epochs:
            return "finished"
        return f"continue after epoch {epochs}" if epochs else "train"

    def build(self, method: Method) -> Method:
        """The module to train, with the sizes of the method that will adopt it, initialised from the seed alone.

        Published weights are loaded unchanged. Raises BenchError if the method cannot adopt them.
        """
        if self.weights:
            learner = self.weights.build()
            try:
                method.adopt(learner)  # only a check, before training; done again when it is needed
            except ValueError as error:
                raise BenchError(f"{self.weights.origin.file} does not fit {self.method}: {error}") from error
            return learner
        return _seeded(self.seed, lambda: build_stage(method, self.stage, **self.settings.model))


@dataclass(frozen=True)
class Run:
    """One run of a benchmark: a method with a seed."""

    benchmark: Benchmark
    method: str  # its key in the benchmark
    entry: MethodEntry  # as the benchmark states it
    seed: int
    key: str
    shared_key: str  # the key under accounting `shared`
    stages: tuple[StageRun, ...] = ()
    weights: Weights | None = None  # published ones, instead of training
    pads_otherwise: bool = False  # pads short test videos on the other side, so it needs its own predictions
    trial: bool = False  # with other settings than the benchmark's file states, or on a part of its test set

    @property
    def registered(self) -> str:
        """The name in the registry."""
        return self.benchmark.registered(self.method)

    @property
    def frames(self) -> int:
        """The receptive field."""
        return self.benchmark.frames(self.method)

    @cached_property
    def settings(self) -> Stage:
        """Hyper-parameters (published weights override them) and recipe, with what `as_published` sets."""
        if self.weights:
            return Stage(model={**self.entry.model, **self.weights.hyperparameters})
        return with_published_defects(self.entry, method_class(self.registered))

    @property
    def folder(self) -> Path:
        """Checkpoints and predictions, the same for every accounting; git-ignored."""
        return paths.cache() / "runs" / self.benchmark.name / f"{self.method}-s{self.seed}-{self.shared_key[:8]}"

    @property
    def outcome_folder(self) -> Path:
        """The folder of the record, and of all else that depends on the accounting."""
        shared = self.benchmark.protocol.accounting == "shared"
        return self.folder if shared else self.folder / self.benchmark.protocol.accounting

    @property
    def name(self) -> str:
        return f"{self.method}-s{self.seed}-{self.key[:8]}"

    @property
    def record_file(self) -> Path:
        return self.outcome_folder / "record.json"

    @property
    def predictions_file(self) -> Path:
        return (self.outcome_folder if self.pads_otherwise else self.folder) / "predictions.npz"

    @property
    def weights_file(self) -> Path:
        """The weights that were tested."""
        return self.folder / "weights.pt"

    @property
    def course_file(self) -> Path:
        """The training history."""
        return self.folder / "training.json"

    @property
    def predicted(self) -> bool:
        """Whether the test predictions exist: of this run, or of the same run under another accounting."""
        return self.predictions_file.is_file()

    @property
    def record(self) -> Record | None:
        """The record of the run; None if it is not finished, or the file is empty or damaged."""
        try:
            return records.read(self.record_file)
        except BenchError:
            return None

    @property
    def finished(self) -> bool:
        return self.record is not None

    def kept_predictions(self) -> Path:
        """The file of predictions. Raises BenchError, saying how to get them, if there are none."""
        if not self.predicted:
            raise BenchError(f"{self.name} has no predictions in {paths.shown(self.folder.parent)}; {self._again()}")
        return self.predictions_file

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
        if self.predicted:
            return "score"
        if self.weights:
            return f"test {self.weights.origin.file}"
        if not method_class(self.registered).trainable:
            return "fit and test"
        epochs = resumable_epochs(self.folder)
        return f"continue after epoch {epochs}" if epochs else "train"

    def build(self, joints: int, **changes: Any) -> Method:
        """The method, initialised from the seed alone. changes: hyper-parameters in place of those of the run."""
        model = {**self.settings.model, **changes}
        if self.weights:
            return self.weights.build(**model)
        return _seeded(self.seed, lambda: build(self.registered, frames=self.frames, joints=joints, **model))

    def trained(self, joints: int, **changes: Any) -> Method:
        """The method with the weights that were tested. changes: as `build`. Raises BenchError if they are gone."""
        if not self.weights_file.is_file():
            raise BenchError(
                f"{paths.shown(self.weights_file)}, the weights of {self.name}, not found; {self._again()}"
            )
        method = self.build(joints, **changes)
        method.load_state_dict(checkpoint.load(self.weights_file)["method"])
        return method.eval()

    def _again(self) -> str:
        """How to make the files of the run again."""
        seeds = f" --seeds {self.seed + 1}" if self.seed else ""
        again = f"bench run {self.benchmark.name} --methods {self.method}{seeds}"
        emptied = f"remove {paths.shown(self.folder)} and do it again" if self.folder.is_dir() else "do it"
        return f"{emptied} with the same data and settings: {again}"


def plan(
    benchmark: Benchmark,
    split: Split,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    weights: Mapping[str, Weights] | None = None,
) -> list[Run]:
    """The runs of a benchmark, in the order they will be done.

    methods: some of the benchmark's (default: all). weights: published ones to test, as `published_weights`.
    """
    return [
        _run(benchmark, split, name, entry, seed, weights or {})
        for seed in seeds
        for name, entry in chosen_methods(benchmark, methods).items()
    ]


def one_run(
    benchmark: Benchmark,
    method: str,
    seed: int = 0,
    *,
    data: str | Path | None = None,
    weights: Mapping[str, Path] | None = None,
    imported: bool = True,
) -> tuple[Run, Split]:
    """One run with the arguments given to `bench run`, and its data. Arguments and errors as `make_plan`."""
    made = make_plan(benchmark, data=data, methods=[method], seeds=[seed], weights=weights, imported=imported)
    return made.runs[0], made.split


def published_weights(
    benchmark: Benchmark, methods: Iterable[str], files: Mapping[str, Path], imported: bool = True
) -> dict[str, Weights]:
    """Published weights to test or to start from, instead of training: by method, or `METHOD-STAGE`.

    files: named by the user. imported: also those that `bench import --for` has written for the benchmark. Raises
    BenchError for a file that does not fit the method and the sizes of the benchmark.
    """
    found, known = {}, []
    for name in methods:
        for stage in ("", *benchmark.methods[name].stages):
            key = f"{name}-{stage}" if stage else name
            known.append(key)
            path = files.get(key, benchmark_path(benchmark.name, name, stage))
            if key in files or (imported and path.is_file()):
                found[key] = load_weights(path)
                found[key].check(benchmark, name, stage)
    for key in files:
        if key not in found:
            raise unknown(f"method to run in {benchmark.name}", key, known)
    return found


def chosen_methods(benchmark: Benchmark, methods: Sequence[str] = ()) -> dict[str, MethodEntry]:
    """The methods to run, in the benchmark's order.

    Raises BenchError for a method that is not in it or not installed, for a stage that a method does not have, and for
    a method without the accounting that the protocol states.
    """
    for method in methods:
        if method not in benchmark.methods:
            raise unknown(f"method of {benchmark.name}", method, benchmark.methods)
    chosen = {name: entry for name, entry in benchmark.methods.items() if not methods or name in methods}
    for name, entry in chosen.items():
        cls = method_class(benchmark.registered(name))
        for stage in entry.stages:
            if stage not in cls.stages:
                raise unknown(f"stage of {benchmark.registered(name)}", stage, cls.stages)
        accounting_of(benchmark.protocol.accounting, benchmark.registered(name), benchmark.protocol.tested_on.dataset)
    return chosen


def with_published_defects(stated: Stage, cls: type[Method]) -> Stage:
    """Hyper-parameters and recipe with what `as_published: true` sets in this method, where nothing else is stated.

    Raises BenchError if that contradicts what is stated.
    """
    if not stated.recipe.as_published:
        return Stage(model=stated.model, recipe=stated.recipe)
    recipe = {**cls.as_published.get("recipe", {}), **stated.recipe.model_dump(include=stated.recipe.model_fields_set)}
    model = {**cls.as_published.get("model", {}), **stated.model}
    try:
        return Stage.model_validate({"model": model, "recipe": recipe})
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise BenchError(f"{cls.name}: recipe.as_published contradicts the recipe: {reason}") from None


def _run(
    benchmark: Benchmark,
    split: Split,
    name: str,
    entry: MethodEntry,
    seed: int,
    weights: Mapping[str, Weights],
) -> Run:
    found: Keys = keys(benchmark, name, seed, split.training.fingerprint, split.testing.fingerprint, weights)
    whole = benchmark.protocol.test_videos in (None, len(split.testing.sequences))
    trial = not whole or settings_of(benchmark, name) != settings_of(benchmark.as_filed, name)
    stages = []
    for stage, content in entry.stages.items() if name not in weights else ():
        settings = with_published_defects(content, method_class(benchmark.registered(name)).stages[stage])
        taken = weights.get(f"{name}-{stage}")
        stages.append(StageRun(benchmark, name, stage, settings, seed, found.stages[stage], taken))
    protocol = benchmark.protocol
    rules = accounting_of(protocol.accounting, benchmark.registered(name), protocol.tested_on.dataset)
    short = int(split.testing.lengths.min()) < benchmark.frames(name)
    return Run(
        benchmark,
        name,
        entry,
        seed,
        found.run,
        found.shared,
        stages=tuple(stages),
        weights=weights.get(name),
        pads_otherwise=short and rules.short != SHARED.short,
        trial=trial,
    )


def _seeded(seed: int, make: Callable[[], Method]) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
