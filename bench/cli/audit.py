"""`bench audit`: what each rule of scoring does to the same predictions."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, add_data, command, positive


def add(commands: Commands) -> None:
    """Declare the command of this room."""
    audit = command(
        commands,
        "audit",
        "score the predictions of a run by our rules and by those of published code, rule by rule",
        "bench audit demo --method mixste --csv audit.csv",
        _audit,
    )
    audit.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    audit.add_argument("--method", required=True, help="one of the benchmark's methods")
    audit.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the run (default 0)")
    audit.add_argument("--predictions", metavar="FILE", help="a predictions.npz instead of the run's own")
    audit.add_argument("--set", action="append", metavar="KEY=VALUE", help="as the run was configured; may be repeated")
    audit.add_argument("--lift", action="store_true", help="also lift the test set again, for rules that need it")
    audit.add_argument("--device", default="auto", help="for --lift: auto, cpu, cuda, cuda:1 ... (default auto)")
    audit.add_argument("--csv", metavar="FILE", help="write all numbers as one table too")
    add_data(audit)


def _audit(options: argparse.Namespace) -> int:
    from bench.config import load_benchmark

    benchmark = load_benchmark(options.benchmark, options.set or ())
    from bench.audit import audit  # brings torch: only once the configuration is known to be good
    from bench.paths import shown, write_text

    found = audit(
        benchmark,
        options.method,
        seed=options.seed,
        data=options.data,
        predictions=Path(options.predictions) if options.predictions else None,
        lift=options.lift,
        device=options.device,
    )
    print(found.text)
    if options.csv:
        write_text(Path(options.csv), found.table.to_csv(index=False))
        print(f"\nwritten  {shown(Path(options.csv))}")
    return 0


def _seed(text: str) -> int:
    return 0 if text == "0" else positive(text)
