"""`bench compare`: a statistical comparison of two results on a benchmark."""

from __future__ import annotations

import argparse

from bench.cli.command import Commands, command
from bench.results.metrics import METRICS


def add(commands: Commands) -> None:
    """Declare the command."""
    compare = command(
        commands,
        "compare",
        "test whether two methods differ beyond chance, from their records",
        "bench compare cmu-det-27 mixste poseformer --metric p_mpjpe",
        _compare,
    )
    compare.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    named = "a method or a submission, all seeds; NAME:0 for one seed, NAME:weights for published weights"
    compare.add_argument("first", metavar="A", help=named)
    compare.add_argument("second", metavar="B", help="like A; the result is A - B")
    compare.add_argument(
        "--metric",
        default="mpjpe",
        metavar="NAME",
        help=f"{', '.join(METRICS)} or one of an installed package (default mpjpe)",
    )
    compare.add_argument("--set", action="append", metavar="KEY=VALUE", help="as given to bench run; may be repeated")


def _compare(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark
    from bench.show.compare import compare

    benchmark = load_benchmark(options.benchmark, options.set or ())
    print(compare(benchmark, options.first, options.second, options.metric).text)
    return 0
