"""`bench records`: keep committed records usable with a new version."""

from __future__ import annotations

import argparse

from bench.cli.command import Commands, command, group


def add(commands: Commands) -> None:
    """Declare the commands."""
    records = group(commands, "records", "update the records of finished runs", "bench records migrate")
    command(
        records,
        "migrate",
        "give the records of an earlier version the keys of this one; numbers do not change",
        "bench records migrate",
        _migrate,
    )


def _migrate(options: argparse.Namespace) -> int:
    from bench.runs.migrate import migrate  # imports torch

    done = migrate()
    for line in done:
        print(line)
    if any(line.after is not None for line in done):
        print("next: bench tables  (its pages link to the records)")
    else:
        print("every record is of this version")
    return 0
