"""`bench audit`: the effect of each scoring rule on the same predictions."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, add_finished_run, command, method_files


def add(commands: Commands) -> None:
    """Declare the command."""
    audit = command(
        commands,
        "audit",
        "score the predictions of a run by the shared rules and by those of published code",
        "bench audit demo --method mixste --csv audit.csv",
        _audit,
    )
    add_finished_run(audit)
    audit.add_argument("--predictions", metavar="FILE", help="a predictions.npz instead of the run's own")
    audit.add_argument("--lift", action="store_true", help="also lift the test set again, for rules that need it")
    audit.add_argument("--device", default="auto", help="for --lift: auto, cpu, cuda, cuda:1 ... (default auto)")
    audit.add_argument("--csv", metavar="FILE", help="also write all numbers as one table")


def _audit(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark

    benchmark = load_benchmark(options.benchmark, options.set or ())
    from bench.runs.audit import audit  # imports torch: only after the configuration is checked
    from bench.system.paths import shown, write_text

    found = audit(
        benchmark,
        options.method,
        seed=options.seed,
        data=options.data,
        weights=method_files(options.weights or ()),
        imported=options.imported,
        predictions=Path(options.predictions) if options.predictions else None,
        lift=options.lift,
        device=options.device,
    )
    print(found.text)
    if options.csv:
        write_text(Path(options.csv), found.table.to_csv(index=False))
        print(f"\nwritten  {shown(Path(options.csv))}")
    return 0
