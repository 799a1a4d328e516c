"""`bench sweep`: the methods of a benchmark at several values of one setting."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.cli.command import Commands, add_data, add_jobs, command, jobs, names, positive

if TYPE_CHECKING:
    from bench.config.schema import Benchmark


def add(commands: Commands) -> None:
    """Declare the command."""
    sweep = command(
        commands,
        "sweep",
        "test the methods of a benchmark at several values of one setting",
        "bench sweep cmu-det-27 noise --methods mixste,diff3dhpe",
        _sweep,
    )
    sweep.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    sweep.add_argument("name", nargs="?", help="one of its sweeps; without it, they are listed")
    sweep.add_argument("--methods", metavar="A,B", help="only these of the sweep's methods")
    sweep.add_argument("--seeds", type=positive, default=1, metavar="N", help="seeds 0 to N-1 (default 1)")
    sweep.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    add_jobs(sweep, "runs or points")
    add_data(sweep)
    sweep.add_argument("--no-track", dest="track", action="store_false", help="log nothing to MLflow")


def _sweep(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark

    stated = jobs(options.jobs)
    benchmark = load_benchmark(options.benchmark)
    if options.name is None:
        print(_listed(benchmark))
        return 0
    from bench.results import sweeps
    from bench.runs.side_by_side import default_jobs
    from bench.runs.sweep import plan_sweep, run_sweep  # imports torch: only after the configuration is checked
    from bench.show.sweeps import terminal
    from bench.system.paths import shown

    planned = plan_sweep(
        benchmark,
        options.name,
        data=options.data,
        methods=names(options.methods),
        seeds=range(options.seeds),
        device=options.device,
    )
    print(planned, flush=True)
    at_a_time = stated or default_jobs(planned.device, planned.split)
    outcome = run_sweep(planned, track=options.track, jobs=at_a_time)
    path = sweeps.folder() / outcome.path
    print(terminal(outcome))
    print(f"\nall numbers {shown(path)}\nfigure      {shown(path.with_suffix('.svg'))}")
    return 0


def _listed(benchmark: Benchmark) -> str:
    """The sweeps of a benchmark, one line each."""
    lines = [
        f"  {name}: {sweep.knob} {', '.join(f'{value:g}' for value in sweep.values)}; "
        f"methods: {', '.join(sweep.methods) or 'all that have it'}"
        for name, sweep in benchmark.sweeps.items()
    ]
    return "\n".join(
        [f"{benchmark.name}: {benchmark.title}", *(lines or ["  no sweeps; docs/how-to/sweeps.md says how to add one"])]
    )
