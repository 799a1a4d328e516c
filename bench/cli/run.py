"""`bench run`: plan and do the runs of a benchmark, and print the outcome."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from bench.cli.command import Commands, add_data, add_jobs, command, jobs, method_files, names, positive
from bench.system.errors import BenchError

if TYPE_CHECKING:
    from bench.results.records import Record
    from bench.runs.launch import Finished
    from bench.runs.plan import Plan


def add(commands: Commands) -> None:
    """Declare the command."""
    run = command(
        commands,
        "run",
        "train, test, record and compare the methods of a benchmark",
        "bench run cmu-gt-27 --methods mixste --set recipe.epochs=5",
        _run,
    )
    run.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    run.add_argument("--methods", metavar="A,B", help="only these of the benchmark's methods")
    run.add_argument("--seeds", type=positive, default=1, metavar="N", help="seeds 0 to N-1 (default 1)")
    run.add_argument("--only", metavar="KEY", help="only the run whose key starts so (see --dry-run --json)")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    add_jobs(run, "runs")
    add_data(run)
    run.add_argument("--set", action="append", metavar="KEY=VALUE", help="change the configuration; may be repeated")
    run.add_argument(
        "--weights",
        action="append",
        metavar="METHOD=FILE",
        help="test these imported weights instead of training; may be repeated",
    )
    run.add_argument("--no-weights", dest="imported", action="store_false", help="train even if weights were imported")
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument("--json", action="store_true", help="with --dry-run: the plan as JSON, with the key of every run")
    logged = run.add_mutually_exclusive_group()
    logged.add_argument("--no-track", dest="track", action="store_false", help="log nothing to MLflow")
    logged.add_argument(
        "--system-metrics", action="store_true", help="also log the load of CPU, memory, disk and GPU; needs psutil"
    )


def _run(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark

    if options.json and not options.dry_run:
        raise BenchError("--json prints the plan and goes with --dry-run")
    stated = jobs(options.jobs)
    benchmark = load_benchmark(options.benchmark, options.set or ())
    seen = None
    if options.dry_run and not options.weights:
        from bench.runs import looked

        chosen, given = names(options.methods), vars(options)
        others = {key: given[key] for key in ("seeds", "only", "device", "imported", "json", "system_metrics")}
        seen = looked.looked_at(benchmark, options.data, chosen, **others)
        if seen and (known := seen.answer) is not None:
            print(known)
            return 0
    # These import torch: only after the configuration is checked.
    from bench.results.tracking import check_system_metrics
    from bench.runs.forecast import forecast
    from bench.runs.launch import run_plan
    from bench.runs.plan import make_plan
    from bench.runs.side_by_side import default_jobs, get_ready
    from bench.system.device import choose_device

    if options.system_metrics:
        check_system_metrics()
    device = choose_device(options.device)
    plan = make_plan(
        benchmark,
        data=options.data,
        methods=names(options.methods),
        seeds=range(options.seeds),
        weights=method_files(options.weights or ()),
        imported=options.imported,
    )
    if options.only:
        plan = plan.only(options.only)
    unfinished = sum(not run.finished for run in plan.runs)
    at_a_time = max(1, min(stated or default_jobs(device, plan.split), unfinished))
    if not options.dry_run:
        get_ready(at_a_time, options.track)  # beside the forecast
    expected = None if options.json else forecast(plan, device, at_a_time)
    text = json.dumps(_as_data(plan), indent=1) if options.json else str(expected)
    print(text, flush=True)
    if options.dry_run:
        if seen:
            looked.keep(seen, text, plan)
        return 0
    print(flush=True)
    finished = run_plan(
        plan, device, track=options.track, system_metrics=options.system_metrics, jobs=at_a_time, expected=expected
    )
    print(_closing(finished))
    if not finished.failed:
        return 0
    return 2 if all(isinstance(error, BenchError) for error in finished.failed.values()) else 1


def _as_data(plan: Plan) -> dict[str, object]:
    """A plan for other programs: the key of each run is what --only takes."""
    runs = [
        {
            "key": run.key,
            "name": run.name,
            "method": run.method,
            "seed": run.seed,
            "state": run.state,
            "trial": run.trial,
            "stages": [{"key": one.key, "name": one.name, "state": one.state} for one in run.stages],
        }
        for run in plan.runs
    ]
    return {"benchmark": plan.benchmark.name, "runs": runs}


def _closing(finished: Finished) -> str:
    """The table of finished runs, the paths of their files, and the runs that were skipped or failed."""
    from bench.show import tables
    from bench.system import paths

    benchmark = finished.plan.benchmark
    lines = []
    if finished.records:
        lines = ["", benchmark.title, "", tables.terminal(benchmark, finished.records), ""]
        by_key = {run.key: run for run in finished.plan.runs}
        lines += [_record_line(record, trial=by_key[record.run_key].trial) for record in finished.records]
    if finished.tracked_in:
        lines.append(f"tracked in  {finished.tracked_in}")
    report = paths.results() / "report.html"
    made = f"{paths.shown(report)}  (make report brings it up to date)"
    lines.append(
        f"report      {made if report.is_file() else 'make report  (one HTML file: tables, charts, poses in 3D)'}"
    )
    lines += [f"skipped     {name}: another process is running it" for name in finished.elsewhere]
    lines += [f"failed      {name}: {str(error).splitlines()[0]}" for name, error in finished.failed.items()]
    if finished.failed:
        lines.append(
            f"{len(finished.failed)} of {len(finished.plan.runs)} runs failed; the same command tries them again"
        )
    return "\n".join(lines)


def _record_line(record: Record, trial: bool) -> str:
    """The file of a run's record, and how it compares with a published record of the same run."""
    from bench.results import records
    from bench.results.agreement import agreement
    from bench.system import paths

    if trial:
        return f"record      {paths.shown(paths.trial_records() / record.path)}  (a trial: no table shows it)"
    published, own = paths.records() / record.path, paths.own_records() / record.path
    kept = records.read(published) if published.is_file() else record
    if kept.is_of_the_training_of(record):
        return f"record      {paths.shown(published)}"
    found = agreement(record, kept)
    if found.verdict == "reproduced":
        return f"record      {paths.shown(own)}  (reproduced)"
    mine, theirs = record.metrics["mpjpe"].value, kept.metrics["mpjpe"].value
    return (
        f"record      {paths.shown(own)}\n"
        f"            yours {mine:.1f} mm, published record {theirs:.1f} mm; {found.text}"
    )
