"""Parts of the commands: a parser with an example, and the options that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.system.errors import BenchError

Call = Callable[[argparse.Namespace], int]  # returns the exit status

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


def command(commands: Commands, name: str, what: str, example: str, call: Call) -> argparse.ArgumentParser:
    """Add a command to its group. what: one line, for the list and for its own help."""
    added = commands.add_parser(name, help=what, description=what, epilog=f"example: {example}")
    added.set_defaults(call=call)
    return added


def group(commands: Commands, name: str, what: str, example: str) -> Commands:
    """Add a command that has commands of its own; given alone it prints its help and exits with 2."""
    added = commands.add_parser(name, help=what, description=what, epilog=f"example: {example}")

    def print_help(options: argparse.Namespace) -> int:
        added.print_help()
        return 2

    added.set_defaults(call=print_help)
    return added.add_subparsers(title="commands", metavar="COMMAND")


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data DIR`."""
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data set's files (default: $BENCH_DATA, else data/)"
    )


def add_jobs(parser: argparse.ArgumentParser, what: str) -> None:
    """`--jobs N`."""
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help=f"how many {what} to do at a time, with the same numbers (default: $BENCH_JOBS, else as many as cores and "
        "memory allow; 1 on a GPU)",
    )


def jobs(given: int | None) -> int | None:
    """What `--jobs` or $BENCH_JOBS says; None if nothing is said. Raises BenchError for another text than a number."""
    stated = os.environ.get("BENCH_JOBS")
    if given is not None or not stated:
        return given
    if not stated.isdecimal() or int(stated) < 1:
        raise BenchError(f"BENCH_JOBS={stated} is not a number of runs; unset it or set it to 1, 2 ...")
    return int(stated)


def add_finished_run(parser: argparse.ArgumentParser) -> None:
    """The options that identify a run: benchmark, method, seed, and what `bench run` was given."""
    parser.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    parser.add_argument("--method", required=True, help="one of the benchmark's methods")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of the run (default 0)")
    add_data(parser)
    again = "as given to bench run"
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help=f"{again}; may be repeated")
    parser.add_argument("--weights", action="append", metavar="METHOD=FILE", help=f"{again}; may be repeated")
    parser.add_argument("--no-weights", dest="imported", action="store_false", help=again)


def method_files(pairs: Sequence[str]) -> dict[str, Path]:
    """The files of `METHOD=FILE`, by method."""
    files = {}
    for pair in pairs:
        method, equals, file = pair.partition("=")
        if not (method and equals and file):
            raise BenchError(f"{pair!r} is not of the form METHOD=FILE")
        files[method] = Path(file)
    return files


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def seed(text: str) -> int:
    """A whole number of at least 0."""
    return 0 if text == "0" else positive(text)


def names(text: str | None) -> list[str]:
    """The names in a comma-separated list."""
    return (text or "").replace(",", " ").split()
