"""The `bench` command: parse, call, print. Exit status: 0 success, 2 an error caused by user input, 1 a bug."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from bench.cli import audit, benchmarks, compare, data, draw, export, lift, records, run, score, selftest, sweep
from bench.cli.command import Call
from bench.system.errors import BenchError

COMMANDS = (
    run,
    benchmarks,
    compare,
    sweep,
    score,
    audit,
    draw,
    lift,
    data,
    export,
    records,
    selftest,
)  # in the order of `bench --help`


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    atexit.register(gc.freeze)  # at the end Python need not search torch's modules for circles, which takes a second
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
    except PermissionError as error:
        print(f"bench: {error.filename or 'a file'}: permission denied", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("bench: stopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as in `bench data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except BaseException as error:
        stopped_by = getattr(error, "signum", None)
        if stopped_by is None:
            raise
        print(f"bench: {error}; run the same command again to continue", file=sys.stderr)
        sys.exit(128 + stopped_by)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Monocular 3D human-pose lifters on shared protocols.",
        epilog="example: bench run demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser
