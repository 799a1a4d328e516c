"""Carry out a plan: each run is trained, tested, recorded and logged; finished runs are skipped.

The record is written as soon as there are scores. If a later step fails (tables for the log, pictures, the logged
model), one line says so, and the run is finished. A run that fails does not stop the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import torch

from bench.config.accounting import accounting_of
from bench.config.schema import Benchmark
from bench.data.split import Split
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scoring import SCORING_REVISION, score
from bench.method import checkpoint
from bench.method.base import Method
from bench.method.cost import timed
from bench.results import records, tracking
from bench.results.records import Cost, Record
from bench.runs.course import Course
from bench.runs.forecast import Forecast, forecast
from bench.runs.log import inputs, log_all, log_model, log_outcome, log_picture, log_weights, parameters, tags
from bench.runs.plan import Plan, Run, StageRun, make_plan
from bench.runs.record import Made, make_record, measured
from bench.runs.side_by_side import carry_out
from bench.runs.work import BusyError, Outcome, Surroundings, Work
from bench.system import paths
from bench.system.device import choose_device, threads_for
from bench.system.progress import say, silence
from bench.system.provenance import provenance
from bench.system.stop import stoppable
from bench.training.loop import Epoch, Job, Trained, fit, prepare

# How published weights were trained is not known here.
PUBLISHED_WEIGHTS = Trained([], 0, None, "published weights")


@dataclass(frozen=True)
class Finished:
    """The outcome of a plan.

    records: of every finished run, new and old, in the order of the plan. outcome: of the others, by name: errors, and
    the runs that another process is running. tracked_in: where the log is; None without one.
    """

    plan: Plan
    records: list[Record] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    tracked_in: str | None = None

    @property
    def failed(self) -> Mapping[str, Exception]:
        return self.outcome.failed

    @property
    def elsewhere(self) -> Sequence[str]:
        return self.outcome.elsewhere

    def check(self) -> None:
        """Raise the first error that is not a BenchError, else one BenchError that names every failed run."""
        self.outcome.check()


def run_benchmark(
    benchmark: Benchmark,
    *,
    data: str | Path | None = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    device: str = "auto",
    weights: Mapping[str, Path] | None = None,
    imported: bool = True,
    track: bool = True,
    quiet: bool = False,
    jobs: int = 1,
) -> list[Record]:
    """Run a benchmark and return the record of every run, new and old. Arguments as `make_plan` and `run_plan`.

    Prints nothing; progress goes to standard error, unless `quiet`. Raises BenchError for errors caused by user input
    and, after the other runs, the error of a run that failed.
    """
    where = choose_device(device)
    with silence() if quiet else nullcontext():
        plan = make_plan(benchmark, data=data, methods=methods, seeds=seeds, weights=weights, imported=imported)
        done = run_plan(plan, where, track=track, jobs=jobs)
    done.check()
    return done.records


def run_plan(
    plan: Plan,
    device: torch.device,
    *,
    track: bool = True,
    system_metrics: bool = False,
    jobs: int = 1,
    expected: Forecast | None = None,
) -> Finished:
    """Do the runs of a plan that are not finished.

    track: log them; system_metrics: also log the load of the machine. jobs: how many to do at a time, each in a worker
    process; the numbers are the same. A script that asks for several must start under `if __name__ == "__main__":`.
    expected: the forecast of the plan, if there is one already. A run that another process is running is skipped, and a
    failed run does not stop the others: the result names both.
    """
    for run in plan.runs:
        try:
            _complete(run, plan.split)
        except BusyError as error:  # the other process leaves its record complete
            say(f"{run.name}: {error}")
    waiting = [run for run in plan.runs if not run.finished]
    outcome = Outcome()
    open_log = partial(tracking.open_tracker, plan.benchmark.name, enabled=track, system_metrics=system_metrics)
    tracker = open_log()
    if waiting:
        if expected is None and jobs > 1 and len(waiting) > 1:
            expected = forecast(plan, device, jobs)
        made_with = provenance()  # before training, so that it names no later edit
        about = tags(made_with, plan.split.testing, plan.split.training)
        with stoppable(), tracker.invocation(f"bench run {plan.benchmark.name}", about) as invocation:
            around = Surroundings(plan.benchmark.protocol, plan.split, device, open_log, invocation)
            outcome = carry_out([_work(run, made_with, expected) for run in waiting], around, jobs)
            invocation.compare([run.record.provenance.mlflow_run_id for run in waiting if run.record])
    done = [record for run in plan.runs if (record := run.record) is not None]
    for run in plan.runs:
        if not run.trial and run.record and (paths.trial_records() / run.record.path).is_file():
            records.keep(run.record)  # the benchmark's file now states what was a trial
            (paths.trial_records() / run.record.path).unlink()
    return Finished(plan, done, outcome, tracker.where)


def _work(run: Run, made_with: dict[str, Any], expected: Forecast | None) -> Work:
    """A run as a piece of work."""
    activities = {run.name: "train", f"{run.name} test": "test", f"{run.name}, validation": "validate"}
    return Work(
        run.name,
        f"{run.method}-s{run.seed}",
        partial(_do, run, made_with=made_with),
        run.registered,
        activities | {stage.name: stage.stage for stage in run.stages},
        frozenset({run.folder, *(stage.folder for stage in run.stages)}),
        None if expected is None else expected.seconds.get(run.key),
        expected is not None and run.key in expected.alone,
    )


def _do(
    run: Run, split: Split, device: torch.device, invocation: tracking.Invocation, made_with: dict[str, Any]
) -> str:
    """Train and test one run, and write its record to its folder and to the records; its result as a text."""
    _finish(run, split, device, invocation, made_with)
    return f"{run.record.metrics['mpjpe'].value:.1f} mm" if run.record else "no record"


def _finish(
    run: Run, split: Split, device: torch.device, invocation: tracking.Invocation, made_with: dict[str, Any]
) -> None:
    protocol = run.benchmark.protocol
    with _only_here(run) as stack:
        if run.finished:
            return  # another process was faster
        method = run.build(len(split.training.skeleton))
        if run.predicted:
            log = stack.enter_context(_logged(invocation, run, split, device, made_with))
            say(f"{run.name}: {run.state}", routine=True)
            course, cost = _earlier_course(run), None
            _log_course(log, run, course)
            predictions = Predictions.load(run.predictions_file)
        else:
            stages = {}
            for stage in run.stages:
                stages[stage.stage], learner = _train_before(stage, method, split, device, invocation, made_with)
                method.adopt(learner)
            say(f"{run.name}: {run.state}", routine=True)
            log = stack.enter_context(_logged(invocation, run, split, device, made_with))
            stack.enter_context(threads_for(method.parameter_count, device))
            course = Course(_train(run, method, split, device, log), stages)
            course.save(run.course_file)
            predictions, cost = _test(run, method, split, device)
        accounting = accounting_of(protocol.accounting, run.registered, protocol.tested_on.dataset)
        scores = score(predictions, split.testing, protocol.averaging, accounting)
        made = Made(device, made_with, log.run_id, SCORING_REVISION)
        record = make_record(run, method, course, scores, cost, split, made)
        records.keep(record, trial=run.trial)
        paths.write_text(run.record_file, records.text(record))  # after it: this is what makes the run finished
        log_all(
            run.name,
            {
                "its numbers and tables": partial(log_outcome, log, run, record, scores),
                "the picture of the median frame": partial(log_picture, log, run, scores, predictions, split.testing),
                "its weights": partial(log_weights, log, run),
                "its model": partial(log_model, log, run, method, split.training),
            },
        )


def _train(run: Run, method: Method, split: Split, device: torch.device, log: tracking.LoggedRun) -> Trained:
    """Train a method, or continue its training; with published weights, only prepare it on the data."""
    recipe = run.settings.recipe
    if run.weights:
        prepare(method, split.training, split.everything)
        return PUBLISHED_WEIGHTS
    chosen_on = split.testing if recipe.keep == "best-test" else split.validation  # best-test: only as_published
    job = Job(
        split.training,
        chosen_on,
        recipe,
        seed=run.seed,
        averaging=run.benchmark.protocol.averaging,
        folder=run.folder,
        device=device,
        label=run.name,
        on_epoch=partial(_log_epoch, log, chosen_on=_chosen_on(run)),
        everything=split.everything,
    )
    return fit(method, job)


def _test(run: Run, method: Method, split: Split, device: torch.device) -> tuple[Predictions, Cost]:
    """Save the weights, and lift the test set with them."""
    built = {"name": run.registered, "model": run.settings.model, "frames": run.frames}
    content = {"method": method.state_dict(), **built, "skeleton": split.training.skeleton.name}
    checkpoint.save(content, run.weights_file)
    protocol = run.benchmark.protocol
    options: dict[str, Any] = {
        "flip": protocol.flip_test,
        "seed": run.seed,
        "device": device,
        "label": f"{run.name} test",
        "accounting": accounting_of(protocol.accounting, run.registered, protocol.tested_on.dataset),
    }
    lift = partial(predict, method, split.testing, **options)
    predictions, cost = timed(lift, len(split.testing.counted), device)
    predictions.save(run.predictions_file)
    return predictions, cost


def _earlier_course(run: Run) -> Course:
    """The training history of a run with predictions; empty if it is lost, as the run is not trained again."""
    if run.weights:
        return Course(PUBLISHED_WEIGHTS)
    if (course := Course.of(run)) is not None:
        return course
    say(f"{run.name}: its predictions exist, but its training history is unknown: its checkpoints are gone")
    return Course(Trained([], None, None, run.settings.recipe.keep))


def _complete(run: Run, split: Split) -> None:
    """Score a finished run again from its predictions, if its record has no blocks or another scoring revision."""
    record = run.record
    if record is None or not (record.lacks_blocks or _scored_otherwise(record)):
        return
    why = "its record has no blocks" if record.lacks_blocks else "its record was scored by other rules"
    if not run.predicted:
        say(
            f"{run.name}: {why} and its predictions are gone; remove {paths.shown(run.folder)} and run again to "
            "score it like the others"
        )
        return
    with _only_here(run):
        say(f"{run.name}: score again, {why}")
        protocol = run.benchmark.protocol
        accounting = accounting_of(protocol.accounting, run.registered, protocol.tested_on.dataset)
        scores = score(Predictions.load(run.predictions_file), split.testing, protocol.averaging, accounting)
        numbers = measured(scores, protocol.accounting)
        again = record.model_copy(update={**numbers, "scoring_revision": SCORING_REVISION})
        whole = again if _scored_otherwise(record) else records.completed(record, again)
        if whole is not None:
            if run.trial or (paths.records() / record.path).is_file():  # else it was withdrawn
                records.keep(whole, trial=run.trial)
            paths.write_text(run.record_file, records.text(whole))
            return
    apart = max(abs(value) for value in records.differences(again, record).values())
    say(f"{run.name}: record unchanged: its numbers and those of its predictions are up to {apart:.3g} apart")


def _scored_otherwise(record: Record) -> bool:
    return record.scoring_revision not in (None, SCORING_REVISION)


def _train_before(
    stage: StageRun,
    method: Method,
    split: Split,
    device: torch.device,
    invocation: tracking.Invocation,
    made_with: dict[str, Any],
) -> tuple[Trained, Method]:
    """Train an earlier stage of a method, or load it if it is trained already."""
    with _only_here(stage) as stack:
        say(f"{stage.name}: {stage.state}", routine=True)
        learner = stage.build(method)
        if stage.weights:
            return PUBLISHED_WEIGHTS, learner
        on_epoch: Callable[[Epoch], None] = _ignore
        if stage.state != "finished":
            on_epoch = partial(_log_epoch, stack.enter_context(_logged(invocation, stage, split, device, made_with)))
        stack.enter_context(threads_for(learner.parameter_count, device))
        job = Job(
            split.training,
            None,
            stage.settings.recipe,
            seed=stage.seed,
            folder=stage.folder,
            device=device,
            label=stage.name,
            on_epoch=on_epoch,
            everything=split.everything,
        )
        return fit(learner, job), learner.cpu()


@contextmanager
def _only_here(work: Run | StageRun) -> Iterator[ExitStack]:
    """Lock the folder of a run or a stage for this process. Raises BusyError if another process holds it."""
    work.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(filelock.FileLock(work.folder / ".lock", timeout=0))
        except filelock.Timeout:
            raise BusyError(f"another process is running {work.name}") from None
        yield stack


def _logged(
    invocation: tracking.Invocation,
    work: Run | StageRun,
    split: Split,
    device: torch.device,
    made_with: dict[str, Any],
) -> AbstractContextManager[tracking.LoggedRun]:
    """The entry of a run or a stage in the log."""
    own = {"method": work.method, "seed": str(work.seed), "device": str(device)}
    own |= {"stage": work.stage} if isinstance(work, StageRun) else {"config_sha256": work.config_hash}
    return invocation.run(
        work.name,
        run_key=work.key,
        params=parameters(work),
        tags=tags(made_with, split.testing, split.training) | own,
        datasets=inputs(work.benchmark.protocol, split.testing, split.training),
    )


def _ignore(epoch: Epoch) -> None:
    """For a stage trained earlier: its epochs are in the log already."""


def _chosen_on(run: Run) -> str:
    """The data that the epoch is chosen on, by its name in the log."""
    return "test-set" if run.settings.recipe.keep == "best-test" else "validation"


def _log_course(log: tracking.LoggedRun, run: Run, course: Course) -> None:
    for epoch in course.trained.history:
        _log_epoch(log, epoch, _chosen_on(run))


def _log_epoch(log: tracking.LoggedRun, epoch: Epoch, chosen_on: str = "validation") -> None:
    values = {f"train/{name}": value for name, value in epoch.loss.items()}
    values |= {"train/learning_rate": epoch.learning_rate, "train/frames_per_second": epoch.frames_per_second}
    if epoch.validation_mpjpe_mm is not None:
        values[f"{chosen_on}/mpjpe_mm"] = epoch.validation_mpjpe_mm
    # A checkpoint of an earlier version may hold a loss that is not finite; it is not logged.
    log.metrics(epoch.epoch + 1, {name: value for name, value in values.items() if math.isfinite(value)})
    log.flush()
