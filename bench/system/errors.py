"""Errors caused by user input: the command line prints their message and exits with 2, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class BenchError(ValueError):
    """An error caused by user input. The message says what was found, where, and what to do."""


class MissingDataError(BenchError, FileNotFoundError):
    """A file of a data set is not where it was looked for."""

    def __str__(self) -> str:  # FileNotFoundError would otherwise print an errno
        return str(self.args[0])


class UnwritableError(BenchError, OSError):
    """A file cannot be written where it was asked for."""

    def __str__(self) -> str:  # as above
        return str(self.args[0])


def missing_file(shown: str, what: str = "") -> MissingDataError:
    """The error for a file that does not exist or is a folder.

    shown: its path for the message; what: what it should hold.
    """
    found = "is a folder, not a file" if Path(shown).is_dir() else "not found"
    return MissingDataError(f"{shown} {found}" + (f": {what}" if what else ""))


def unknown(what: str, name: str, known: Iterable[str]) -> BenchError:
    """The error for a name that is not known, with the most similar known one as a hint. what: the kind of name."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return BenchError(f"No {what} {name!r}.{hint} Known: {', '.join(names) or 'none'}")
