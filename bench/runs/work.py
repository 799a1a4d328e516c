"""What can be done beside other work: pieces of it, what they share, and how they ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.config.schema import Protocol
from bench.data.split import Split
from bench.results import tracking
from bench.system.errors import BenchError


class BusyError(BenchError):
    """Another process is doing the work."""


@dataclass(frozen=True)
class Work:
    """A piece of work that can be sent to a worker process.

    do: returns its result as a short text; raises BusyError if another process does it. name: for messages. title: for
    the table, short. activities: what its progress labels mean to a reader. method: its registered name. folders: no
    two pieces write to the same one at a time. seconds: an estimate. alone: computes on all cores.
    """

    name: str
    title: str
    do: Callable[[Split, torch.device, tracking.Invocation], str]
    method: str
    activities: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[Path] = frozenset()
    seconds: float | None = None
    alone: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What all pieces of work share. open_log: makes the tracker, also in another process."""

    protocol: Protocol
    split: Split
    device: torch.device
    open_log: Callable[[], tracking.Tracker]
    invocation: tracking.Invocation


@dataclass(frozen=True)
class Outcome:
    """The names of the pieces that failed, with their errors, and of those that another process is doing."""

    failed: dict[str, Exception] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise the first error that is not a BenchError, else one BenchError that names every piece that failed."""
        for error in self.failed.values():
            if len(self.failed) == 1 or not isinstance(error, BenchError):
                raise error
        if self.failed:
            raise BenchError("\n".join(f"{name} failed: {error}" for name, error in self.failed.items()))


def expected_seconds(works: Iterable[tuple[float, bool]], jobs: int) -> float:
    """How long pieces of work take, `jobs` at a time. works: the seconds of each, and whether it is done alone."""
    lanes = [0.0] * jobs
    alone = 0.0
    for seconds, by_itself in sorted(works, reverse=True):
        if by_itself:
            alone += seconds
        else:
            lanes[lanes.index(min(lanes))] += seconds
    return alone + max(lanes)


def explained(error: BaseException) -> str:
    """The message of a failure, with the traceback unless it was caused by user input."""
    if isinstance(error, BenchError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()
