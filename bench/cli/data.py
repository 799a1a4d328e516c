"""`bench data ...`: describe, verify, prepare and fetch data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, add_data, command, group, names
from bench.system.errors import BenchError


def add(commands: Commands) -> None:
    """Declare the commands."""
    parts = group(
        commands, "data", "describe, verify, prepare or fetch a data set", "bench data describe cmu --keypoints det"
    )

    describe = command(
        parts,
        "describe",
        "read a data set and print its contents",
        "bench data describe cmu --keypoints det",
        _describe,
    )
    describe.add_argument("dataset", help="3dhp, 3dhp-annot3, cmu, h36m, synthetic, or one of an installed package")
    describe.add_argument("--keypoints", default="gt", help="gt, cpn (h36m) or det (cmu, synthetic); default gt")
    describe.add_argument(
        "--picture",
        metavar="FILE",
        type=_picture_file,
        help="write a sheet of frames, 2D beside 3D: .png, .pdf or .svg",
    )
    add_data(describe)

    verify = command(
        parts, "verify", "check a data set's files and print what is wrong", "bench data verify h36m", _verify
    )
    verify.add_argument("dataset", help="3dhp, 3dhp-annot3, cmu, h36m or synthetic")
    verify.add_argument(
        "--keypoints", help="gt, cpn (h36m) or det (cmu, synthetic); default: all whose files are there"
    )
    add_data(verify)

    example = "bench data prepare 3dhp --raw ~/downloads/mpi_inf_3dhp --skeleton universal"
    prepare = command(parts, "prepare", "make a data set's files from its raw download", example, _prepare)
    prepare.add_argument("dataset", help="3dhp or h36m")
    prepare.add_argument("--raw", metavar="DIR", required=True, help="folder of the download, unpacked or not")
    prepare.add_argument(
        "--skeleton", help="3D labels of 3dhp: universal (scaled to one height) or camera (as measured)"
    )
    prepare.add_argument(
        "--output", metavar="DIR", help="where the files go (default: $BENCH_DATA/NAME, else data/NAME)"
    )
    prepare.add_argument(
        "--partial", action="store_true", help="make the files even if parts of the download are missing"
    )
    prepare.add_argument("--force", action="store_true", help="replace existing files that differ")

    fetch = command(
        parts,
        "fetch",
        "download motion capture of the CMU database; existing files are kept",
        "bench data fetch cmu --subjects 02,05",
        _fetch,
    )
    fetch.add_argument("dataset", help="cmu; the others need a licence from their authors")
    fetch.add_argument("--subjects", metavar="A,B", help="only these of the benchmarks' subjects")
    fetch.add_argument("--trials", metavar="A,B", help="trials, alone or besides --subjects; like 02_01")
    fetch.add_argument("--url", metavar="URL", help="a mirror of the site (default: http://mocap.cs.cmu.edu)")
    add_data(fetch)


def _describe(options: argparse.Namespace) -> int:
    from bench.data.contents import contents
    from bench.show.draw.sheet import picture
    from bench.system.paths import shown

    print(contents(options.dataset, options.data, options.keypoints))
    if options.picture:
        picture(options.picture, options.dataset, options.data, options.keypoints)
        print(f"\npicture: {shown(options.picture)}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from bench.data import available
    from bench.data.verify import verify

    wrong = False
    kinds = [options.keypoints] if options.keypoints else available(options.dataset, options.data) or ["gt"]
    for index, keypoints in enumerate(kinds):
        report = verify(options.dataset, options.data, keypoints)
        print(report if index == 0 else f"\n{report}")
        wrong = wrong or report.is_wrong
    return 2 if wrong else 0


def _picture_file(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .png, .pdf or .svg")
    return path


def _prepare(options: argparse.Namespace) -> int:
    from bench.data.prepare import prepare
    from bench.system.stop import stoppable

    with stoppable():
        print(prepare(options.dataset, options.raw, options.output, options.skeleton, options.partial, options.force))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from bench.system import paths

    if options.dataset != "cmu":
        raise BenchError(
            f"{options.dataset!r} cannot be fetched, only cmu; docs/reference/datasets.md says how to get the others"
        )
    from bench.data import fetch  # imports numpy: only after the arguments are checked

    root = Path(options.data) if options.data else paths.data()
    fetch.fetch_cmu(root, names(options.subjects), names(options.trials), options.url or fetch.SITE)
    return 0
