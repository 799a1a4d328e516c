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
    describe.add_argument("dataset", help="3dhp, cmu, h36m or synthetic")
    describe.add_argument("--keypoints", default="gt", help="gt, cpn (h36m) or det (cmu, synthetic); default gt")
    add_data(describe)

    example = "bench data prepare 3dhp --raw ~/downloads/mpi_inf_3dhp --skeleton universal"
    prepare = command(parts, "prepare", "make a data set's files of its raw download", example, _prepare)
    prepare.add_argument("dataset", help="3dhp or h36m")
    prepare.add_argument("--raw", metavar="DIR", required=True, help="folder of the download, unpacked or not")
    prepare.add_argument(
        "--skeleton", help="3D labels of 3dhp: universal (scaled to one height) or camera (as measured)"
    )
    prepare.add_argument(
        "--output", metavar="DIR", help="where the files go (default: $BENCH_DATA/NAME, else data/NAME)"
    )
    prepare.add_argument(
        "--partial", action="store_true", help="make files of what is there, where something is missing"
    )
    prepare.add_argument("--force", action="store_true", help="replace files that hold something else")


def _describe(options: argparse.Namespace) -> int:
    from bench.data import describe

    print(describe(options.dataset, options.data, options.keypoints))
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from bench.data.prepare import prepare
    from bench.stop import stoppable

    with stoppable():
        print(prepare(options.dataset, options.raw, options.output, options.skeleton, options.partial, options.force))
    return 0
