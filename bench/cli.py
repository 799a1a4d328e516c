"""The `bench` command: parse, call, print. Exit status 0 done, 2 the user's mistake, 1 ours."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from bench.errors import BenchError

Call = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "call"):
        parser.print_help()
        sys.exit(2)
    call: Call = options.call
    try:
        sys.exit(call(options))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("bench: stopped; the same command goes on where this one was", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as in `bench data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except BaseException as error:
        stopped_by = getattr(error, "signum", None)
        if stopped_by is None:
            raise
        print(f"bench: {error}; the same command goes on where this one was", file=sys.stderr)
        sys.exit(128 + stopped_by)


def _run(options: argparse.Namespace) -> int:
    from bench.config import load_benchmark

    benchmark = load_benchmark(options.benchmark, options.set or ())
    from bench.launch import run_benchmark  # brings torch: only once the configuration is known to be good

    run_benchmark(
        benchmark,
        data=options.data,
        methods=_names(options.methods),
        seeds=range(options.seeds),
        device=options.device,
        weights=_files(options.weights or ()),
        imported=options.imported,
        dry_run=options.dry_run,
        track=options.track,
    )
    return 0


def _import(options: argparse.Namespace) -> int:
    from bench.config import key_and_value, load_benchmark

    given = dict(key_and_value(change, example="heads=8") for change in options.set or ())
    benchmark = load_benchmark(options.benchmark) if options.benchmark else None
    from bench import weights as files  # brings torch: only once the command line is known to be good
    from bench.paths import shown
    from bench.registry import method_and_stage

    file = Path(options.file)
    weights = files.import_file(options.method, file, given)
    stage = method_and_stage(weights.method)[1]
    if benchmark is not None:
        entry = weights.entry(benchmark)
        path = files.benchmark_path(benchmark.name, entry, stage)
        commands = [["run", options.benchmark, "--methods", entry]]
    else:
        path = Path(options.output) if options.output else files.default_path(weights.method, file)
        commands = []
        for name in files.fitting_benchmarks(weights):
            entry = weights.entry(load_benchmark(name))
            key = f"{entry}-{stage}" if stage else entry
            commands.append(["run", name, "--methods", entry, "--weights", f"{key}={shown(path)}"])
    files.save_weights(weights, path, force=options.force)
    print(files.describe(weights))
    print(f"  written     {shown(path)}")
    for words in commands:
        print(f"  evaluate    bench {shlex.join(words)}")
    if not commands:
        print("  evaluate    no benchmark in configs/ is of this size; bench.load_weights reads the file in Python")
    return 0


def _tables(options: argparse.Namespace) -> int:
    from bench import tables

    changed = tables.write(check=options.check)
    for name in changed:
        print(f"{'drifted' if options.check else 'written'}  {name}")
    for line in tables.left_out():
        print(f"left out {line}")
    if options.check and changed:
        print("bench: tables do not say what results/ says; run: make tables", file=sys.stderr)
        return 2
    if not changed:
        print("every table says what results/ says")
    return 0


def _methods(options: argparse.Namespace) -> int:
    from bench.catalogue import catalogue

    print(catalogue())
    return 0


def _data(options: argparse.Namespace) -> int:
    from bench.data import describe

    print(describe(options.dataset, options.data, options.keypoints))
    return 0


def _ui(options: argparse.Namespace) -> int:
    from bench.ui import serve

    serve(options.port)


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").replace(",", " ").split() if name]


def _files(pairs: Sequence[str]) -> dict[str, Path]:
    files = {}
    for pair in pairs:
        method, equals, file = pair.partition("=")
        if not (method and equals and file):
            raise BenchError(f"{pair!r} is not of the form METHOD=FILE")
        files[method] = Path(file)
    return files


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Monocular 3D human-pose lifters on shared protocols.",
        epilog="example: bench run demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(
        name: str, what: str, example: str, call: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, epilog=f"example: {example}")
        added.set_defaults(call=call)
        return added

    run = command(
        "run",
        "train, test, record and compare the methods of a benchmark",
        "bench run cmu-gt-27 --methods mixste --set recipe.epochs=5",
        _run,
    )
    run.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    run.add_argument("--methods", metavar="A,B", help="only these of the benchmark's methods")
    run.add_argument("--seeds", type=_positive, default=1, metavar="N", help="seeds 0 to N-1 (default 1)")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    _add_data(run)
    run.add_argument("--set", action="append", metavar="KEY=VALUE", help="change the configuration; may be repeated")
    run.add_argument(
        "--weights",
        action="append",
        metavar="METHOD=FILE",
        help="test these imported weights instead of training; may be repeated",
    )
    run.add_argument(
        "--no-weights", dest="imported", action="store_false", help="train even what weights were imported for"
    )
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument("--no-track", dest="track", action="store_false", help="log nothing to MLflow")

    imported = command(
        "import",
        "make a weights file of a published checkpoint",
        "bench import mixste best_epoch_cpn_243f.bin --for h36m-cpn-243",
        _import,
    )
    imported.add_argument("method", help="a registered method, or METHOD-STAGE like pstmo-pretrain")
    imported.add_argument("file", help="the checkpoint, as its authors published it; nothing in it is executed")
    where = imported.add_mutually_exclusive_group()
    where.add_argument(
        "-o", "--output", metavar="FILE", help="default: METHOD-NAME.safetensors in checkpoints/, NAME being the file's"
    )
    where.add_argument("--for", dest="benchmark", metavar="BENCHMARK", help="put it where this benchmark looks for it")
    imported.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="a hyper-parameter that tensors do not tell; may be repeated",
    )
    imported.add_argument("--force", action="store_true", help="replace a weights file that is there and differs")

    tables = command("tables", "rewrite the tables of README and results/tables", "bench tables --check", _tables)
    tables.add_argument("--check", action="store_true", help="change nothing; exit 2 if a table drifted")

    command("methods", "list the registered methods", "bench methods", _methods)

    data = command("data", "read a data set and say what is in it", "bench data cmu --keypoints det", _data)
    data.add_argument("dataset", help="3dhp, cmu, h36m or synthetic")
    data.add_argument("--keypoints", default="gt", help="gt, cpn (h36m) or det (cmu, synthetic); default gt")
    _add_data(data)

    ui = command("ui", "show the tracked runs in a browser, on this machine only", "bench ui --port 5001", _ui)
    ui.add_argument("--port", type=_positive, default=5000)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data set's files (default: $BENCH_DATA, else data/)"
    )


if __name__ == "__main__":
    main()
