"""`bench export ...`: files for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, add_data, add_finished_run, command, group, method_files


def add(commands: Commands) -> None:
    """Declare the commands."""
    parts = group(
        commands, "export", "write files for other programs", "bench export template h36m-cpn-243 -o mine.npz"
    )

    template = command(
        parts,
        "template",
        "write an empty file of predictions, to be filled in and scored",
        "bench export template h36m-cpn-243 -o mine.npz --with-input input.npz",
        _template,
    )
    template.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    template.add_argument("-o", "--output", metavar="FILE", required=True, help="the .npz file to write")
    template.add_argument(
        "--with-input", metavar="FILE", help="also write the 2D keypoints, with the same keys, to this .npz file"
    )
    add_data(template)

    mat = command(
        parts,
        "3dhp-mat",
        "write a finished run for MPI-INF-3DHP's MATLAB script, and the tables it should print",
        "bench export 3dhp-mat 3dhp-gt --method mixste -o mat",
        _mat,
    )
    add_finished_run(mat)
    mat.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write to")


def _template(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark

    benchmark = load_benchmark(options.benchmark)
    from bench.runs import export  # imports torch: only after the arguments are checked

    with_input = Path(options.with_input) if options.with_input else None
    print(export.template(benchmark, Path(options.output), with_input=with_input, data=options.data))
    return 0


def _mat(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark

    benchmark = load_benchmark(options.benchmark, options.set or ())
    from bench.runs import export  # imports torch: only after the configuration is checked
    from bench.system.paths import shown

    predictions, testing = export.finished_3dhp(
        benchmark,
        options.method,
        options.seed,
        data=options.data,
        weights=method_files(options.weights or ()),
        imported=options.imported,
    )
    for path in export.mat_3dhp(predictions, testing, Path(options.output)):
        print(f"written  {shown(path)}")
    if testing.activities is None:
        print("no activity_test_3dhp.npz beside the data: the table by activity is missing")
    return 0
