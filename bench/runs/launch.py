"""Running a benchmark: every run of its plan is trained, tested, recorded and logged; done ones are only shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import torch

from bench.config.accounting import accounting_of
from bench.config.schema import Benchmark
from bench.data.split import Split
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scoring import score
from bench.method import checkpoint
from bench.method.base import Method
from bench.method.cost import timed
from bench.results import records
from bench.results.metrics import check_functions
from bench.results.records import Record
from bench.results.tracking import tracker as tracking
from bench.results.tracking.mlflow_store import sqlite_file, store_uri, without_password
from bench.runs.forecast import describe
from bench.runs.log import inputs, log_model, log_outcome, parameters, tags
from bench.runs.plan import Run, StageRun, chosen_methods, plan, published_weights
from bench.runs.record import make_record, measured
from bench.show import tables
from bench.system import paths
from bench.system.device import choose_device, threads_for
from bench.system.errors import BenchError
from bench.system.progress import say
from bench.system.provenance import provenance
from bench.training.loop import Epoch, Trained, fit, prepare

# How published weights were trained is not known here.
AS_PUBLISHED = Trained([], 0, None, "published weights")


def run_benchmark(
    benchmark: Benchmark,
    *,
    data: str | Path | None = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    device: str = "auto",
    weights: Mapping[str, Path] | None = None,
    imported: bool = True,
    dry_run: bool = False,
    track: bool = True,
    system_metrics: bool = False,
) -> list[Record]:
    """Do what a benchmark asks for and return the record of every run, new and old.

    Prints the plan first; dry_run: and stops there. weights: files of published ones that are tested instead of being
    trained, by method; imported: and those that were imported for this benchmark. track: log to MLflow; system_metrics:
    and there the load of the machine. Raises BenchError for anything the user has to mend.
    """
    if system_metrics:
        tracking.check_system_metrics()
    check_functions()
    where = choose_device(device)
    # A wrong name or file should not wait for the data to be read.
    published = published_weights(benchmark, chosen_methods(benchmark, methods), weights or {}, imported)
    split = Split.load(benchmark.protocol, data)
    runs = plan(benchmark, split, methods, seeds, published)
    print(describe(runs, split, where), flush=True)
    if dry_run:
        return []
    print()
    for run in runs:
        _complete(run, split)
    waiting = [run for run in runs if not run.finished]
    if waiting:
        facts = provenance()  # before training, lest it names an edit made meanwhile
        with tracking.stoppable():
            tracker = tracking.open_tracker(benchmark.name, enabled=track, system_metrics=system_metrics)
            with tracker.invocation(
                f"bench run {benchmark.name}", tags(facts, split.testing, split.training)
            ) as invocation:
                for run in waiting:
                    _do(run, split, where, invocation, facts)
                invocation.compare([records.read(run.record_file).provenance.mlflow_run_id for run in waiting])
    done = [records.read(run.record_file) for run in runs]
    print(f"\n{benchmark.title}\n\n{tables.terminal(benchmark, done)}\n")
    for record in done:
        _say_record(record)
    if track:
        database = sqlite_file(store_uri())
        where_to = f"{paths.shown(database)}  (make ui shows it)" if database else without_password(store_uri())
        print(f"tracked in  {where_to}")
    report = paths.results() / "report.html"
    made = f"{paths.shown(report)}  (make report brings it up to date)"
    print(f"report      {made if report.is_file() else 'make report  (one HTML file: tables, charts, poses in 3D)'}")
    return done


def _do(run: Run, split: Split, device: torch.device, invocation: tracking.Invocation, facts: dict[str, Any]) -> None:
    """Train and test one run, and leave its record in its folder and among the records."""
    protocol, recipe = run.benchmark.protocol, run.settings.recipe
    with _only_here(run) as free:
        if run.finished:
            return  # another process was faster
        method = run.build(len(split.training.skeleton))
        earlier = {}
        for stage in run.stages:
            earlier[stage.stage], learner = _train_before(stage, method, split, device, invocation, facts)
            method.adopt(learner)
        say(f"{run.name}: {run.state}")
        log = free.enter_context(_logged(invocation, run, split, device, facts))
        free.enter_context(threads_for(method.parameter_count, device))
        judged = split.testing if recipe.keep == "best-test" else split.validation  # best-test: only as_published
        if run.weights:
            prepare(method, split.training, split.everything)
            trained = AS_PUBLISHED
        else:
            trained = fit(
                method,
                split.training,
                judged,
                recipe,
                seed=run.seed,
                averaging=protocol.averaging,
                folder=run.folder,
                device=device,
                label=run.name,
                on_epoch=partial(_log_epoch, log, judged_on="test-set" if recipe.keep == "best-test" else "validation"),
                everything=split.everything,
            )
        cost = None
        if run.predicted:
            predictions = Predictions.load(run.predictions_file)
        else:
            built = {"name": run.registered, "model": run.settings.model, "frames": run.frames}
            content = {"method": method.state_dict(), **built, "skeleton": split.training.skeleton.name}
            checkpoint.save(content, run.folder / "weights.pt")
            label = f"{run.name} test"
            lift = partial(
                predict, method, split.testing, flip=protocol.flip_test, seed=run.seed, device=device, label=label
            )
            predictions, cost = timed(lift, len(split.testing.counted), device)
            predictions.save(run.predictions_file)
        accounting = accounting_of(protocol.accounting, run.registered, protocol.tested_on.dataset)
        scores = score(predictions, split.testing, protocol.averaging, accounting)
        record = make_record(run, method, trained, earlier, scores, cost, split, facts, log.run_id)
        log_outcome(log, run, record, scores, predictions, split.testing)
        log_model(log, run, method, split.training)
        records.write(record)
        paths.write_text(run.record_file, records.text(record))  # last: this is what makes the run finished


def _complete(run: Run, split: Split) -> None:
    """Give the record of a finished run what an older version did not write, from the predictions that it left."""
    record = records.read(run.record_file) if run.finished else None
    if record is None or not record.lacks_blocks:
        return
    if not run.predicted:
        say(
            f"{run.name}: its record has no blocks and its predictions are gone; remove {paths.shown(run.folder)} and "
            "run again to have them"
        )
        return
    with _only_here(run):
        say(f"{run.name}: score again, its record has no blocks")
        scores = score(Predictions.load(run.predictions_file), split.testing, run.benchmark.protocol.averaging)
        again = record.model_copy(update=measured(scores))
        if whole := records.completed(record, again):
            if (paths.records() / record.path).is_file():  # else it was withdrawn
                records.write(whole)
            paths.write_text(run.record_file, records.text(whole))
            return
    apart = max(abs(value) for value in records.differences(again, record).values())
    say(f"{run.name}: left as it is, for its numbers are not those of its predictions; up to {apart:.3g} apart")


def _train_before(
    stage: StageRun,
    method: Method,
    split: Split,
    device: torch.device,
    invocation: tracking.Invocation,
    facts: dict[str, Any],
) -> tuple[Trained, Method]:
    """Train what comes before a method, or take it from where an earlier run has left it."""
    with _only_here(stage) as free:
        say(f"{stage.name}: {stage.state}")
        learner = stage.build(method)
        if stage.weights:
            return AS_PUBLISHED, learner
        on_epoch: Callable[[Epoch], None] = _ignore
        if stage.state != "finished":
            on_epoch = partial(_log_epoch, free.enter_context(_logged(invocation, stage, split, device, facts)))
        free.enter_context(threads_for(learner.parameter_count, device))
        trained = fit(
            learner,
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
        return trained, learner.cpu()


@contextmanager
def _only_here(work: Run | StageRun) -> Iterator[ExitStack]:
    """The folder of a run or a stage, for this process alone. Raises BenchError if another one is at it."""
    work.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(filelock.FileLock(work.folder / ".lock", timeout=0))
        except filelock.Timeout:
            raise BenchError(f"{work.name} is being done by another process; wait for it or stop it") from None
        yield stack


def _logged(
    invocation: tracking.Invocation,
    work: Run | StageRun,
    split: Split,
    device: torch.device,
    facts: dict[str, Any],
) -> AbstractContextManager[tracking.Run]:
    """A child of its own in MLflow."""
    own = {"method": work.method, "seed": str(work.seed), "device": str(device)}
    own |= {"stage": work.stage} if isinstance(work, StageRun) else {"config_sha256": work.config_hash}
    return invocation.run(
        work.name,
        run_key=work.key,
        params=parameters(work),
        tags=tags(facts, split.testing, split.training) | own,
        datasets=inputs(work.benchmark.protocol, split.testing, split.training),
    )


def _ignore(epoch: Epoch) -> None:
    """What was logged when it was trained is not logged again."""


def _log_epoch(log: tracking.Run, epoch: Epoch, judged_on: str = "validation") -> None:
    values = {f"train/{name}": value for name, value in epoch.loss.items()}
    values |= {"train/learning_rate": epoch.learning_rate, "train/frames_per_second": epoch.frames_per_second}
    if epoch.validation_mpjpe_mm is not None:
        values[f"{judged_on}/mpjpe_mm"] = epoch.validation_mpjpe_mm
    log.metrics(epoch.epoch + 1, values)
    log.flush()


def _say_record(record: Record) -> None:
    """Where the record is, and whether this run says the same as the committed one."""
    path = paths.records() / record.path
    kept = records.read(path) if path.is_file() else record
    line = f"record      {paths.shown(path)}"
    if kept.provenance.finished_at != record.provenance.finished_at:
        apart = max(abs(value) for value in records.differences(record, kept).values())
        line += "  (reproduced)" if apart == 0 else f"  (an earlier run of the same; up to {apart:.3g} apart)"
    print(line)
