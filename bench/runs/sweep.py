"""Sweeps: the methods of a benchmark at several values of one setting, as papers plot them.

Noise, missing joints, sampling steps and hypotheses need no training: the weights of finished runs are tested again.
A receptive field does: each of its points is an ordinary run with that `frames`. Every point is kept in the cache as
soon as it is done, so that a stopped sweep continues, and a new value costs only its own points.
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from bench.config.accounting import Accounting, accounting_of
from bench.config.schema import Benchmark, Sweep, identity
from bench.data import dataset_named
from bench.data.split import Split
from bench.evaluation.corruption import with_dropped_joints, with_noise
from bench.evaluation.hypotheses import Hypotheses
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scores import Scores
from bench.evaluation.scoring import score
from bench.method.base import Method
from bench.method.registry import method_class
from bench.results import statistics as stats
from bench.results import sweeps, tracking
from bench.results.records import Data, Metric
from bench.results.sweeps import COMBINED, Outcome, SweepPoint
from bench.runs.launch import run_plan
from bench.runs.log import inputs, logged_name, parameters, tags
from bench.runs.plan import Plan, Run, chosen_methods, plan, published_weights
from bench.runs.record import origin
from bench.runs.side_by_side import carry_out
from bench.runs.work import Surroundings, Work
from bench.show.sweeps import write as write_sweep
from bench.system import paths
from bench.system.device import choose_device, fills_cpu, threads_for
from bench.system.errors import BenchError, unknown
from bench.system.provenance import provenance
from bench.system.stop import stoppable

SWEEP_REVISION = 1  # changes when this file, corruption or hypotheses change a number: part of a trial's key

_POINTS = TypeAdapter(list[SweepPoint])


@dataclass(frozen=True)
class Trial:
    """One run at one value of the setting (`knob`)."""

    run: Run
    knob: str
    value: float

    @cached_property
    def key(self) -> str:
        return identity({"run": self.run.key, self.knob: self.value, "revision": SWEEP_REVISION})

    @property
    def name(self) -> str:
        return f"{self.run.name}-{self.knob}-{self.value:g}"

    @property
    def file(self) -> Path:
        """Its points; git-ignored."""
        return paths.cache() / "sweeps" / self.run.benchmark.name / f"{self.name}-{self.key[:8]}.json"

    @property
    def done(self) -> bool:
        return self.file.is_file()

    @property
    def changes(self) -> dict[str, Any]:
        """Hyper-parameters in place of those of the run."""
        return {"sampling_steps": self.value} if self.knob == "sampling_steps" else {}

    def build(self, joints: int) -> Method:
        """The method as it is tested, without its weights."""
        return self.run.build(joints, **self.changes)

    @property
    def points(self) -> list[SweepPoint]:
        """Its results: one point, or one per way to combine hypotheses."""
        try:
            return _POINTS.validate_json(self.file.read_bytes())
        except ValidationError:
            raise BenchError(
                f"{paths.shown(self.file)} is damaged; remove it, and the point is computed again"
            ) from None


@dataclass(frozen=True)
class SweepPlan:
    """What `bench sweep` will do: trials in order, and the data that they share."""

    benchmark: Benchmark
    name: str
    methods: Sequence[str]
    seeds: Sequence[int]
    split: Split
    trials: Sequence[Trial]
    device: torch.device

    @property
    def sweep(self) -> Sweep:
        return self.benchmark.sweeps[self.name]

    @property
    def waiting(self) -> list[Trial]:
        """The trials that are not done."""
        return [trial for trial in self.trials if not trial.done]

    def __str__(self) -> str:
        values = ", ".join(f"{value:g}" for value in self.sweep.values)
        subjects = ", ".join(self.benchmark.protocol.test_subjects)
        return (
            f"{self.benchmark.name}, {self.name}: {sweeps.KNOBS[self.sweep.knob]}\n"
            f"  values      {values}\n"
            f"  methods     {', '.join(self.methods)}\n"
            f"  test        {subjects}: {len(self.split.testing.counted):,} frames\n"
            f"  points      {len(self.trials)}, {len(self.waiting)} to do, on {self.device}\n"
        )


def plan_sweep(
    benchmark: Benchmark,
    name: str,
    *,
    data: str | Path | None = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    device: str = "auto",
) -> SweepPlan:
    """The plan of a sweep. methods: some of the sweep's (default: all).

    Raises BenchError for errors caused by user input: a sweep that the benchmark does not have, a method without the
    setting, a run that is not finished.
    """
    sweep = _named(benchmark, name)
    chosen = swept_methods(benchmark, name, methods)
    where = choose_device(device)
    split = Split.load(benchmark.protocol, data)
    trials = _trials(benchmark, sweep, split, chosen, seeds)
    if sweep.knob in ("frames", "sampling_steps"):
        for trial in trials:
            trial.build(len(split.training.skeleton))  # errors are found before hours are spent
    if sweep.knob != "frames":
        _check_weights(trials)
    return SweepPlan(benchmark, name, chosen, seeds, split, trials, where)


def run_sweep(planned: SweepPlan, *, track: bool = True, jobs: int = 1) -> Outcome:
    """Carry out a sweep, write its outcome under `results/sweeps/`, and return it, earlier points included.

    jobs: how many runs or points to do at a time, as in `run_plan`. Raises, after the others, the error of a run or a
    point that failed.
    """
    benchmark, name, split = planned.benchmark, planned.name, planned.split
    if planned.sweep.knob == "frames":
        _train_receptive_fields(planned, track, jobs)
    made_with = provenance()
    if waiting := planned.waiting:
        with stoppable():
            open_log = partial(tracking.open_tracker, benchmark.name, enabled=track)
            about = tags(made_with, split.testing, split.training)
            with open_log().invocation(f"bench sweep {benchmark.name} {name}", about) as invocation:
                around = Surroundings(benchmark.protocol, split, planned.device, open_log, invocation)
                carry_out(_pieces(waiting, name, planned, about), around, jobs, "piece").check()
    return _written(benchmark, name, split, planned.trials, made_with)


def _train_receptive_fields(planned: SweepPlan, track: bool, jobs: int) -> None:
    """Train the runs of a sweep over frames."""
    runs = tuple(trial.run for trial in planned.trials)
    if any(not run.finished for run in runs):
        plan = Plan(planned.benchmark, planned.split, runs)
        run_plan(plan, planned.device, track=track, jobs=jobs).check()


def swept_methods(benchmark: Benchmark, name: str, methods: Sequence[str] = ()) -> list[str]:
    """The methods of a sweep, in the benchmark's order. methods: some of them; default: all that have the setting.

    Raises BenchError for a method that is not in the sweep or does not have the setting, and if none is left.
    """
    sweep = _named(benchmark, name)
    for method in methods:
        if method not in (sweep.methods or benchmark.methods):
            raise unknown(f"method of the sweep {name}", method, sweep.methods or benchmark.methods)
    stated = methods or sweep.methods
    able = [method for method in benchmark.methods if _has(benchmark, method, sweep.knob)]
    for method in stated:
        if method not in able:
            raise BenchError(
                f"{benchmark.name}, sweep {name}: {method} {_LACKS[sweep.knob]}; "
                f"of its methods these have: {', '.join(able) or 'none'}"
            )
    chosen = [method for method in able if not stated or method in stated]
    if not chosen:
        raise BenchError(
            f"{benchmark.name}, sweep {name}: no method of the benchmark can be swept: each {_LACKS[sweep.knob]}"
        )
    return list(chosen_methods(benchmark, chosen))


_LACKS = {
    "sampling_steps": "takes no steps of a sampler (it has no hyper-parameter sampling_steps)",
    "hypotheses": "draws no hypotheses (its output is deterministic)",
}


def _has(benchmark: Benchmark, method: str, knob: str) -> bool:
    """Whether a method has a setting."""
    cls = method_class(benchmark.registered(method))
    if knob == "sampling_steps":
        return knob in inspect.signature(cls).parameters
    return cls.stochastic if knob == "hypotheses" else True


def _named(benchmark: Benchmark, name: str) -> Sweep:
    if name not in benchmark.sweeps:
        raise unknown(f"sweep of {benchmark.name}", name, benchmark.sweeps)
    return benchmark.sweeps[name]


def _trials(
    benchmark: Benchmark, sweep: Sweep, split: Split, methods: Sequence[str], seeds: Iterable[int]
) -> list[Trial]:
    """Every run at every value, run by run."""
    seeds = list(seeds)
    if sweep.knob == "frames":
        return [
            Trial(run, sweep.knob, value)
            for value in sweep.values
            for run in plan(_with_frames(benchmark, int(value)), split, methods, seeds)
        ]
    runs = plan(benchmark, split, methods, seeds, published_weights(benchmark, methods, {}))
    return [Trial(run, sweep.knob, value) for run in runs for value in sweep.values]


def _with_frames(benchmark: Benchmark, frames: int) -> Benchmark:
    """The benchmark with another receptive field for every method."""
    entries = {name: entry.model_copy(update={"frames": frames}) for name, entry in benchmark.methods.items()}
    return benchmark.model_copy(update={"methods": entries}).beside(benchmark.as_filed)


def _check_weights(trials: Sequence[Trial]) -> None:
    """Raises BenchError unless there are the weights of every run."""
    missing = {trial.run.name: trial.run for trial in trials if not trial.run.weights_file.is_file()}
    if not missing:
        return
    methods = ",".join(dict.fromkeys(run.method for run in missing.values()))
    last = max(run.seed for run in missing.values())
    raise BenchError(
        f"{', '.join(missing)}: no weights to test again; this makes them: "
        f"bench run {trials[0].run.benchmark.name} --methods {methods}{f' --seeds {last + 1}' if last else ''}"
    )


# One trial


def _pieces(trials: Sequence[Trial], sweep: str, planned: SweepPlan, tags: dict[str, str]) -> list[Work]:
    """Trials as pieces of work: one each, but those of a run that share hypotheses together."""
    together: dict[str, list[Trial]] = {}
    for trial in trials:
        together.setdefault(trial.run.key if trial.knob == "hypotheses" else trial.key, []).append(trial)
    works = []
    for some in together.values():
        run, values = some[0].run, ", ".join(f"{trial.value:g}" for trial in some)
        parameters = run.build(len(planned.split.training.skeleton)).parameter_count
        works.append(
            Work(
                some[0].name,
                f"{run.method}-s{run.seed} {values}",
                partial(_do_all, some, sweep, tags=tags),
                run.registered,
                {trial.name: f"at {trial.value:g}" for trial in some},
                alone=fills_cpu(parameters, planned.device),
            )
        )
    return works


def _do_all(
    trials: Sequence[Trial],
    sweep: str,
    split: Split,
    device: torch.device,
    invocation: tracking.Invocation,
    tags: dict[str, str],
) -> str:
    """Do trials of one run; the MPJPE of each as a text."""
    samples = Samples()
    done = [_do(trial, sweep, split, device, invocation, tags, samples) for trial in trials]
    return ", ".join(f"{points[0].metrics['mpjpe'].value:.1f}" for points in done) + " mm"


class Samples:
    """The hypotheses of a run, which its trials share: each lifts only those that the last one lacks.

    A sweep that continues lifts the hypotheses of a run once more.
    """

    def __init__(self) -> None:
        self._hypotheses: Hypotheses | None = None

    def shared(self, new: Callable[[], Hypotheses]) -> Hypotheses:
        """Those of the run. new: makes them, the first time."""
        if self._hypotheses is None:
            self._hypotheses = new()
        return self._hypotheses


def _do(
    trial: Trial,
    sweep: str,
    split: Split,
    device: torch.device,
    invocation: tracking.Invocation,
    tags: dict[str, str],
    samples: Samples,
) -> list[SweepPoint]:
    """Test one run at one value, and write its points to the cache."""
    run = trial.run
    about = {"method": run.method, "seed": str(run.seed), "device": str(device), "sweep": sweep}
    with invocation.run(
        trial.name,
        run_key=trial.key,
        params=parameters(run) | {f"sweep.{trial.knob}": trial.value},
        tags=tags | about,
        datasets=inputs(run.benchmark.protocol, split.testing, split.training),
    ) as log:
        points, logged = [], {}
        for combined, scores in _scored(trial, split, device, samples).items():
            metrics = _metrics(scores, intervals=run.benchmark.protocol.accounting == "shared")
            for name, metric in metrics.items():
                logged["/".join(filter(None, ("test", combined, logged_name(name, metric))))] = metric.value
            points.append(
                SweepPoint.model_validate(
                    {
                        "method": run.method,
                        "seed": run.seed,
                        "value": trial.value,
                        "combined": combined or None,
                        "run_key": run.key,
                        "metrics": metrics,
                        "frames": len(scores.errors),
                        "sequences": len(scores.sequences),
                        "mlflow_run_id": log.run_id,
                        "finished_at": datetime.datetime.now(datetime.UTC).replace(microsecond=0),
                    }
                )
            )
        log.metrics(0, logged)
        log.json(_POINTS.dump_python(points, mode="json"), "points.json")
        paths.write_text(trial.file, _POINTS.dump_json(points, indent=1).decode())
        return points


def _scored(trial: Trial, split: Split, device: torch.device, samples: Samples) -> dict[str, Scores]:
    """The scores of a trial, by how its hypotheses were combined; "" where there is nothing to combine."""
    protocol = trial.run.benchmark.protocol
    accounting = accounting_of(protocol.accounting, trial.run.registered, protocol.tested_on.dataset)
    return {
        combined: score(predictions, split.testing, protocol.averaging, accounting)
        for combined, predictions in _predicted(trial, split, device, accounting, samples).items()
    }


def _predicted(
    trial: Trial, split: Split, device: torch.device, accounting: Accounting, samples: Samples
) -> dict[str, Predictions]:
    run, testing = trial.run, split.testing
    if trial.knob == "frames":
        return {"": Predictions.load(run.predictions_file)}
    method = run.trained(len(split.training.skeleton), **trial.changes)
    options: dict[str, Any] = {
        "flip": run.benchmark.protocol.flip_test,
        "seed": run.seed,
        "device": device,
        "accounting": accounting,
    }
    with threads_for(method.parameter_count, device):
        if trial.knob == "hypotheses":
            camera = dataset_named(run.benchmark.protocol.tested_on.dataset).camera
            where = zip(testing.sequences["subject"], testing.sequences["camera"], strict=True)
            views = [camera(subject, name) for subject, name in where]
            hypotheses = samples.shared(lambda: Hypotheses(method, testing, views, **options))
            return hypotheses.combined(int(trial.value), trial.name)
        if trial.knob == "noise_half_widths":
            testing = with_noise(testing, trial.value, run.seed)
        elif trial.knob == "joint_drop":
            testing = with_dropped_joints(testing, trial.value, run.seed)
        return {"": predict(method, testing, label=trial.name, **options)}


def _metrics(scores: Scores, intervals: bool) -> dict[str, Metric]:
    """Every headline number; those that are means of a per-frame metric with their interval."""
    found = {}
    for name, value in scores.summary.items():
        ci = None
        if intervals and name in scores.units:
            interval = stats.headline_interval(stats.blocks(scores.per_frame, name, scores.averaging))
            ci = None if interval is None else (interval.low, interval.high)
        found[name] = Metric(value=value, unit=scores.unit(name), ci=ci)
    return found


# The outcome


def _written(
    benchmark: Benchmark, name: str, split: Split, trials: Sequence[Trial], made_with: dict[str, Any]
) -> Outcome:
    """Write the outcome: the points of these trials, and those of other methods and seeds that still hold."""
    sweep = benchmark.sweeps[name]
    points = [point for trial in trials for point in trial.points]
    path = sweeps.folder() / benchmark.name / f"{name}.json"
    if path.is_file():
        done = {(point.method, point.seed) for point in points}
        points += [
            point
            for point in _still_valid(sweeps.read(path), benchmark, name, split)
            if (point.method, point.seed) not in done
        ]
    order, combined = list(benchmark.methods), [None, *COMBINED]
    points.sort(key=lambda one: (order.index(one.method), combined.index(one.combined), one.seed, one.value))
    stated = benchmark.model_dump(mode="json", include={"protocol", "methods"})
    made = Outcome(
        schema=1,
        benchmark=benchmark.name,
        title=benchmark.title,
        sweep=name,
        knob=sweep.knob,
        data=Data.of(benchmark.protocol),
        protocol=stated["protocol"],
        points=tuple(points),
        provenance=origin(split.testing, made_with, identity({**stated, "sweep": sweep.model_dump(mode="json")}), None),
    )
    return sweeps.read(write_sweep(made))


def _still_valid(earlier: Outcome, benchmark: Benchmark, name: str, split: Split) -> list[SweepPoint]:
    """The points of an earlier outcome whose run keys are still the same."""
    methods, seeds = swept_methods(benchmark, name), sorted({point.seed for point in earlier.points})
    trials = _trials(benchmark, benchmark.sweeps[name], split, methods, seeds)
    keys = {(one.run.method, one.run.seed, one.value): one.run.key for one in trials}
    if earlier.knob != benchmark.sweeps[name].knob:
        return []
    return [one for one in earlier.points if keys.get((one.method, one.seed, one.value)) == one.run_key]
