"""`bench score`: score external predictions and models like the suite's own methods."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.command import Commands, add_data, command, positive
from bench.system.errors import BenchError

if TYPE_CHECKING:
    from bench.runs.submission import Scored


def add(commands: Commands) -> None:
    """Declare the commands."""
    score = command(
        commands,
        "score",
        "score predictions or a model file of any framework",
        "bench score h36m-cpn-243 --predictions mine.npz --name mine",
        _score,
    )
    score.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    what = score.add_mutually_exclusive_group(required=True)
    what.add_argument("--predictions", metavar="FILE", help="poses by video in an .npz file (bench export template)")
    what.add_argument("--onnx", metavar="FILE", help="a model, run by ONNX Runtime on the CPU")
    what.add_argument(
        "--torchscript", metavar="FILE", help="a model of torch.jit.save; it is a program: only use files you trust"
    )
    score.add_argument("--name", required=True, help="its name in the table")
    model = score.add_argument_group("models")
    model.add_argument(
        "--frames", type=positive, metavar="N", help="frames it reads at once, if its file does not state it"
    )
    model.add_argument("--targets", choices=("all", "centre", "last"), help="the frames it answers for, if only one")
    model.add_argument("--step", type=positive, metavar="N", help="frames between two of its input frames (default 1)")
    model.add_argument("--device", help="cpu, cuda, cuda:1 ... or auto, for TorchScript (default cpu)")
    add_data(score)
    score.add_argument("--no-record", dest="record", action="store_false", help="print the numbers and write no record")
    score.add_argument("--no-track", dest="track", action="store_false", help="log nothing to MLflow")


def _score(options: argparse.Namespace) -> int:
    from bench.config.load import load_benchmark

    benchmark = load_benchmark(options.benchmark)
    stated = {name: getattr(options, name) for name in ("frames", "targets", "step", "device")}
    stated = {name: value for name, value in stated.items() if value is not None}
    if options.predictions and stated:
        raise BenchError(f"--{', --'.join(stated)}: for models; predictions are taken as they are")
    if options.onnx and "device" in stated:
        raise BenchError("--device: for TorchScript; ONNX models run on the CPU")
    from bench.runs.submission import score_model, score_predictions  # imports torch

    common = {"data": options.data, "record": options.record, "track": options.track}
    if options.predictions:
        scored = score_predictions(benchmark, Path(options.predictions), options.name, **common)
    elif options.onnx:
        scored = score_model(benchmark, Path(options.onnx), "onnx", options.name, **stated, **common)
    else:
        scored = score_model(benchmark, Path(options.torchscript), "torchscript", options.name, **stated, **common)
    print(_closing(scored))
    return 0


def _closing(scored: Scored) -> str:
    """What was scored, its numbers in detail, the benchmark's table with its row, and where the record is."""
    from bench.results.records import beside_published
    from bench.show import tables
    from bench.system import paths

    submission, record = scored.submission, scored.record
    benchmark = submission.benchmark
    known = tables.shown(benchmark)
    lines = [scored.headline, "", tables.details(record), "", benchmark.title, ""]
    lines += [tables.terminal(benchmark, [*known, record]), ""]
    lines += [f"note        {one.method}, seed {one.seed}: {both}" for one in known if (both := beside_published(one))]
    if reasons := tables.departures(record, benchmark):
        lines.append(f"note        no table of results/ will show it: {'; '.join(reasons)}")
    if not submission.record_file.is_file():
        return "\n".join([*lines, "record      none: --no-record"])
    lines.append(f"record      {paths.shown(submission.record_file)}")
    if scored.tracked_in:
        lines.append(f"tracked in  {scored.tracked_in}")
    return "\n".join(lines)
