"""`bench data ...`: what lies in a data folder, and what gets there."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, add_data, command, group, names
from bench.errors import BenchError


def add(commands: Commands) -> None:
    """Declare the commands of this room."""
    parts = group(commands, "data", "look into data sets", "bench data describe cmu --keypoints det")

    describe = command(
        parts, "describe", "read a data set and say what is in it", "bench data describe cmu --keypoints det", _describe
    )
    describe.add_argument("dataset", help="3dhp, cmu, h36m or synthetic")
    describe.add_argument("--keypoints", default="gt", help="gt, cpn (h36m) or det (cmu, synthetic); default gt")
    add_data(describe)

    fetch = command(
        parts,
        "fetch",
        "get motion capture from the site of the CMU database; files that are there stay",
        "bench data fetch cmu --subjects 02,05",
        _fetch,
    )
    fetch.add_argument("dataset", help="cmu; the others are licensed to you by their authors")
    fetch.add_argument("--subjects", metavar="A,B", help="only these of the benchmarks' subjects")
    fetch.add_argument("--trials", metavar="A,B", help="only these, or these too; any of the database, like 02_01")
    fetch.add_argument("--url", metavar="URL", help="a mirror of the site (default: http://mocap.cs.cmu.edu)")
    add_data(fetch)


def _describe(options: argparse.Namespace) -> int:
    from bench.data import describe

    print(describe(options.dataset, options.data, options.keypoints))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from bench import paths

    if options.dataset != "cmu":
        raise BenchError(
            f"{options.dataset!r} cannot be fetched, only cmu; docs/datasets.md says how to get the others"
        )
    from bench.data import fetch  # brings numpy: only once the command line is known to be good

    root = Path(options.data) if options.data else paths.data()
    fetch.fetch_cmu(root, names(options.subjects), names(options.trials), options.url or fetch.SITE)
    return 0
