"""`bench selftest`: what a machine computes, against one thread of its CPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.command import Commands, command, names


def add(commands: Commands) -> None:
    """Declare the command."""
    selftest = command(
        commands,
        "selftest",
        "check every method on a device against the CPU, and measure its speed; needs no data",
        "bench selftest --device cuda --json selftest.json",
        _selftest,
    )
    selftest.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    selftest.add_argument("--methods", metavar="A,B", help="only these methods (default: all that are registered)")
    selftest.add_argument("--compile", action="store_true", help="also compile networks, which takes minutes")
    selftest.add_argument("--json", metavar="FILE", help="also write the outcome as JSON, for a report of an issue")


def _selftest(options: argparse.Namespace) -> int:
    from bench.runs.selftest import selftest
    from bench.system.paths import shown, write_text

    outcome = selftest(options.device, names(options.methods), compiled=options.compile)
    print(outcome.text())
    if options.json:
        write_text(Path(options.json), outcome.json_text())
        print(f"\nwritten  {shown(Path(options.json))}")
    return 0 if outcome.passed else 1
