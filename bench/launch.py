"""Running a benchmark: every run of its plan is trained, tested, recorded and logged; done ones are only shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from bench import checkpoint, outcome, paths, records, tables, tracking
from bench.config import Benchmark
from bench.data import load_dataset
from bench.data.pose_dataset import PoseDataset
from bench.errors import BenchError
from bench.evaluation import predict, score
from bench.mlflow_store import sqlite_file, store_uri, without_password
from bench.plan import Run, chosen_methods, describe, plan
from bench.progress import say
from bench.provenance import provenance
from bench.records import Record
from bench.train import Epoch, fit

SMALL = 1_000_000  # parameters


def run_benchmark(
    benchmark: Benchmark,
    *,
    data: str | Path | None = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    device: str = "auto",
    dry_run: bool = False,
    track: bool = True,
) -> list[Record]:
    """Do what a benchmark asks for and return the record of every run, new and old.

    Prints the plan first; dry_run: and stops there. Raises BenchError for anything the user has to mend.
    """
    where = choose_device(device)
    chosen_methods(benchmark, methods)  # a wrong name should not wait for the data to be read
    dataset = load_dataset(benchmark.protocol.dataset, data, benchmark.protocol.keypoints)
    runs = plan(benchmark, dataset, methods, seeds)
    print(describe(runs, dataset, where), flush=True)
    if dry_run:
        return []
    print()
    waiting = [run for run in runs if not run.finished]
    if waiting:
        facts = provenance()  # before training, lest it names an edit made meanwhile
        with tracking.stoppable():
            tracker = tracking.open_tracker(benchmark.name, enabled=track)
            with tracker.invocation(f"bench run {benchmark.name}", outcome.tags(facts, dataset)) as invocation:
                for run in waiting:
                    _do(run, dataset, where, invocation, facts)
    done = [records.read(run.record_file) for run in runs]
    print(f"\n{benchmark.title}\n\n{tables.terminal(benchmark, done)}\n")
    for record in done:
        _say_record(record)
    if track:
        database = sqlite_file(store_uri())
        where_to = f"{paths.shown(database)}  (make ui shows it)" if database else without_password(store_uri())
        print(f"tracked in  {where_to}")
    print(f"report      {paths.shown(paths.results() / 'report.html')}  (to be written by a later version)")
    return done


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: for small models on a CPU.

    Their operations are too short to share. On two cores a second thread gains two thirds at best, and costs tenfold
    where another program wants that core, since threads wait for each other by spinning. And sums of one thread do not
    depend on how many cores a machine has: a record can be reproduced elsewhere.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(name: str) -> torch.device:
    """`auto`: a CUDA GPU if there is one, else the CPU. Raises BenchError for a device that cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"device {name!r} cannot be used here ({reason}); try --device auto") from None
    return device


def _do(
    run: Run, dataset: PoseDataset, device: torch.device, invocation: tracking.Invocation, facts: dict[str, Any]
) -> None:
    """Train and test one run, and leave its record in its folder and among the records."""
    protocol, recipe = run.benchmark.protocol, run.entry.recipe
    run.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(filelock.FileLock(run.folder / ".lock", timeout=0))
        except filelock.Timeout:
            raise BenchError(f"{run.name} is being done by another process; wait for it or stop it") from None
        if run.finished:
            return  # the other process was faster
        say(f"{run.name}: {run.state}")
        tags = {"method": run.method, "seed": str(run.seed), "device": str(device), "config_sha256": run.config_hash}
        log = stack.enter_context(
            invocation.run(
                run.name,
                run_key=run.key,
                params=outcome.parameters(run),
                tags=outcome.tags(facts, dataset) | tags,
                datasets=outcome.inputs(dataset, run),
            )
        )
        method = run.build(len(dataset.skeleton))
        if device.type == "cpu" and method.parameter_count < SMALL:
            stack.enter_context(one_thread())
        training, testing = dataset.subset(protocol.fitted_subjects), dataset.subset(protocol.test_subjects)
        judged = dataset.subset(protocol.validation_subjects) if protocol.validation_subjects else None
        if recipe.keep == "best-test":
            judged = testing  # only under as_published

        def on_epoch(epoch: Epoch) -> None:
            values = {f"train/{name}": value for name, value in epoch.loss.items()}
            values |= {"train/learning_rate": epoch.learning_rate, "train/frames_per_second": epoch.frames_per_second}
            if epoch.validation_mpjpe_mm is not None:
                values["validation/mpjpe_mm"] = epoch.validation_mpjpe_mm
            log.metrics(epoch.epoch + 1, values)
            log.flush()

        trained = fit(
            method,
            training,
            judged,
            recipe,
            seed=run.seed,
            averaging=protocol.averaging,
            folder=run.folder,
            device=device,
            label=run.name,
            on_epoch=on_epoch,
        )
        checkpoint.save(
            {"method": method.state_dict(), "name": run.method, "model": run.entry.model, "frames": protocol.frames},
            run.folder / "weights.pt",
        )
        label = f"{run.name} test"
        predictions = predict(method, testing, flip=protocol.flip_test, seed=run.seed, device=device, label=label)
        predictions.save(run.folder / "predictions.npz")
        scores = score(predictions, testing, protocol.averaging)
        record = outcome.make_record(run, method, trained, scores, dataset, facts, log.run_id)
        outcome.log_outcome(log, run, record, scores, predictions, testing)
        records.write(record)
        paths.write_text(run.record_file, records.text(record))  # last: this is what makes the run finished


def _say_record(record: Record) -> None:
    """Where the record is, and whether this run says the same as the committed one."""
    path = paths.records() / record.path
    kept = records.read(path) if path.is_file() else record
    line = f"record      {paths.shown(path)}"
    if kept.provenance.finished_at != record.provenance.finished_at:
        apart = max(abs(value) for value in records.differences(record, kept).values())
        line += "  (reproduced)" if apart == 0 else f"  (an earlier run of the same; up to {apart:.3g} apart)"
    print(line)
