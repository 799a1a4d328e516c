"""What every command is made of: a parser that shows an example, and the options that several share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError

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
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def names(text: str | None) -> list[str]:
    """A list as a user writes it: names with commas between them."""
    return (text or "").replace(",", " ").split()
