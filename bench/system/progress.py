"""Progress for a person: a bar in a terminal, plain lines elsewhere, nothing in `silence`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_SECONDS = 15.0


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Show no progress in the block: for programs that use the suite as a library."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


def say(message: str) -> None:
    """Write a line to standard error, above a running bar."""
    if not _silent.get():
        tqdm.write(message, file=sys.stderr)


class Progress:
    """Counts frames towards a total and shows speed, time left, and what is passed to `update`.

    total and the counts passed to `update` are frames, a unit in which methods with windows of any length compare.
    Other work names its own `unit`. done: what an earlier process has done of the total.
    """

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "frame") -> None:
        self._label, self._total, self._done, self._unit = label, total, done, unit
        self._first, self._started = done, time.monotonic()
        self._said = self._started
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=unit,
            unit_scale=True,
            leave=False,
            dynamic_ncols=True,
            disable=_silent.get() or not sys.stderr.isatty(),
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(self, frames: int, **shown: str) -> None:
        """Count `frames` more as done. shown: values to show beside the speed."""
        self._done += frames
        if not self._bar.disable:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(frames)
        elif time.monotonic() - self._said > LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            rate = (self._done - self._first) / (self._said - self._started)
            left = (self._total - self._done) / rate if rate else float("inf")
            beside = "".join(f"  {key} {value}" for key, value in shown.items())
            percent = 100 * self._done / self._total
            say(f"{self._label}: {percent:3.0f} %  {duration(left)} left  {rate:,.0f} {self._unit}s/s{beside}")


def duration(seconds: float) -> str:
    """Seconds in the units that a person uses: 42 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
