"""The `bench` command: parse, call, print. Exit status 0 done, 2 the user's mistake, 1 ours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
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
        dry_run=options.dry_run,
        track=options.track,
    )
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
    from tabulate import tabulate

    from bench.registry import method_class, methods

    rows, broken = [], []
    for name in methods():
        try:
            cls = method_class(name)
        except BenchError as error:
            broken.append(error)  # one that cannot be loaded does not hide the others
            continue
        summary = next(iter((cls.__doc__ or "").strip().splitlines()), "-")
        rows.append({"method": name, "paper": cls.paper or "-", "what it is": summary})
    print(tabulate(rows, headers="keys"))
    for fault in broken:
        print(f"bench: {fault}", file=sys.stderr)
    return 2 if broken else 0


def _data(options: argparse.Namespace) -> int:
    from bench.data import describe

    print(describe(options.dataset, options.data, options.keypoints))
    return 0


def _ui(options: argparse.Namespace) -> int:
    from bench.ui import serve

    serve(options.port)


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").replace(",", " ").split() if name]


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
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument("--no-track", dest="track", action="store_false", help="log nothing to MLflow")

    tables = command("tables", "rewrite the tables of README and results/tables", "bench tables --check", _tables)
    tables.add_argument("--check", action="store_true", help="change nothing; exit 2 if a table drifted")

    command("methods", "list the registered methods", "bench methods", _methods)

    data = command("data", "read a data set and say what is in it", "bench data cmu --keypoints det", _data)
    data.add_argument("dataset", help="cmu, h36m or synthetic")
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
