"""Progress of long work, and where it goes: one outlet at a time.

By default a bar in a terminal and plain lines elsewhere; nothing in `silence`; otherwise what `shown_by` says: the row
of a live table (`bench.system.live_table`), or the coordinator of a worker process (`bench.runs.side_by_side`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from tqdm import tqdm

LINE_EVERY_SECONDS = 15.0


@dataclass(frozen=True)
class Step:
    """How far some work is. rate: units per second. seconds_left: infinite if not known. shown: values beside it."""

    label: str
    done: int
    total: int
    unit: str
    rate: float
    seconds_left: float
    shown: Mapping[str, str]


class Outlet(Protocol):
    """Where progress goes."""

    def say(self, message: str, routine: bool = False) -> None:
        """Write a line. routine: it states what a live table shows anyway."""

    def show(self, step: Step) -> None:
        """Show how far some work is; may be called often."""

    def over(self, label: str) -> None:
        """That work has ended."""


def say(message: str, routine: bool = False) -> None:
    """Write a line to standard error, above a running bar or table. routine: left out where a live table shows it."""
    current_outlet().say(message, routine)


@contextmanager
def shown_by(outlet: Outlet) -> Iterator[None]:
    """Send progress to an outlet in the block."""
    before = _chosen.set(outlet)
    try:
        yield
    finally:
        _chosen.reset(before)


@contextmanager
def silence() -> Iterator[None]:
    """Show no progress in the block: for programs that use the suite as a library."""
    with shown_by(Silence()):
        yield


def current_outlet() -> Outlet:
    """The outlet of this block: what `shown_by` says, else a bar in a terminal or plain lines."""
    return _chosen.get() or (Bar() if sys.stderr.isatty() else Lines())


class Progress:
    """Counts frames towards a total and shows speed, time left, and what is passed to `update`.

    total and the counts passed to `update` are frames, which compare across window lengths; other work names its own
    `unit`. done: the part of the total that an earlier process did.
    """

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "frame") -> None:
        self._label, self._total, self._done, self._unit = label, total, done, unit
        self._first, self._started = done, time.monotonic()
        self._outlet = current_outlet()
        self.update(0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outlet.over(self._label)

    def update(self, frames: int, **shown: str) -> None:
        """Count `frames` more as done. shown: values to show beside the speed."""
        self._done += frames
        rate = (self._done - self._first) / max(time.monotonic() - self._started, 1e-9)
        left = (self._total - self._done) / rate if rate else float("inf")
        self._outlet.show(Step(self._label, self._done, self._total, self._unit, rate, left, shown))


class Silence:
    """Shows nothing."""

    def say(self, message: str, routine: bool = False) -> None:
        pass

    def show(self, step: Step) -> None:
        pass

    def over(self, label: str) -> None:
        pass


class Lines:
    """Plain lines, one per work every so many seconds: for logs."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}  # when each work last had a line

    def say(self, message: str, routine: bool = False) -> None:
        tqdm.write(message, file=sys.stderr)

    def show(self, step: Step) -> None:
        if time.monotonic() - self._said.setdefault(step.label, time.monotonic()) > LINE_EVERY_SECONDS:
            self._said[step.label] = time.monotonic()
            beside = "".join(f"  {key} {value}" for key, value in step.shown.items())
            percent = 100 * step.done / step.total
            left, rate = duration(step.seconds_left), f"{step.rate:,.0f} {step.unit}s/s"
            self.say(f"{step.label}: {percent:3.0f} %  {left} left  {rate}{beside}")

    def over(self, label: str) -> None:
        self._said.pop(label, None)


class Bar:
    """A bar at the bottom of a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None  # type: ignore[type-arg]

    def say(self, message: str, routine: bool = False) -> None:
        tqdm.write(message, file=sys.stderr)

    def show(self, step: Step) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=step.total,
                initial=step.done,
                desc=step.label,
                unit=step.unit,
                unit_scale=True,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.set_postfix(step.shown, refresh=False)
        self._bar.update(step.done - self._bar.n)

    def over(self, label: str) -> None:
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds as text: 42 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


_chosen: ContextVar[Outlet | None] = ContextVar("outlet", default=None)
