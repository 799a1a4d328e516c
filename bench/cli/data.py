"""`bench data ...`: what lies in a data folder."""

from __future__ import annotations

import argparse

from bench.cli.command import Commands, add_data, command, group


def add(commands: Commands) -> None:
    """Declare the commands of this room."""
    parts = group(commands, "data", "look into data sets", "bench data describe cmu --keypoints det")

    describe = command(
        parts, "describe", "read a data set and say what is in it", "bench data describe cmu --keypoints det", _describe
    )
    describe.add_argument("dataset", help="3dhp, 3dhp-annot3, cmu, h36m or synthetic")
    describe.add_argument("--keypoints", default="gt", help="gt, cpn (h36m) or det (cmu, synthetic); default gt")
    add_data(describe)


def _describe(options: argparse.Namespace) -> int:
    from bench.data import describe

    print(describe(options.dataset, options.data, options.keypoints))
    return 0
