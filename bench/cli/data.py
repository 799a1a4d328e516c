"""`bench data ...`: what lies in a data folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, add_data, command, group


def add(commands: Commands) -> None:
    """Declare the commands of this room."""
    parts = group(commands, "data", "look into data sets", "bench data describe cmu --keypoints det")

    describe = command(
        parts, "describe", "read a data set and say what is in it", "bench data describe cmu --keypoints det", _describe
    )
    describe.add_argument("dataset", help="3dhp, cmu, h36m or synthetic")
    describe.add_argument("--keypoints", default="gt", help="gt, cpn (h36m) or det (cmu, synthetic); default gt")
    describe.add_argument(
        "--picture",
        metavar="FILE",
        type=_picture_file,
        help="write a sheet of frames, 2D beside 3D: .png, .pdf or .svg",
    )
    add_data(describe)

    verify = command(
        parts, "verify", "check a data set's files, and name what is mixed up", "bench data verify h36m", _verify
    )
    verify.add_argument("dataset", help="3dhp, cmu, h36m or synthetic")
    verify.add_argument(
        "--keypoints", help="gt, cpn (h36m) or det (cmu, synthetic); default: all whose files are there"
    )
    add_data(verify)


def _describe(options: argparse.Namespace) -> int:
    from bench.data import describe
    from bench.data.sheet import picture
    from bench.paths import shown

    print(describe(options.dataset, options.data, options.keypoints))
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
