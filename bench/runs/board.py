"""How far the work is: a live table in a terminal, plain lines elsewhere, nothing in silence."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.runs.work import Work, expected_seconds
from bench.system.live_table import LiveTable, Row, terminal_draws
from bench.system.progress import Outlet, Silence, Step, current_outlet, duration


class Board:
    """Shows pieces of work. noun: what a piece is called."""

    def __init__(self, works: Sequence[Work], jobs: int, noun: str) -> None:
        self._works, self._jobs, self._noun = works, jobs, noun
        outlet = current_outlet()
        self._outlets = {work.name: _Followed(outlet) for work in works}
        self._started: dict[str, float] = {}
        self._took: dict[str, float] = {}  # of those that have ended
        self._table: LiveTable | None = None
        self._rows: dict[str, Row] = {}
        if terminal_draws() and not isinstance(outlet, Silence):
            self._table = LiveTable((work.title, work.activities) for work in works)
            self._rows = dict(zip((work.name for work in works), self._table.rows, strict=True))
            self._outlets = {name: _Followed(row) for name, row in self._rows.items()}

    def __enter__(self) -> Board:
        self.refresh()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name, row in self._rows.items():
            if name not in self._took and kind is not None:
                row.set("stopped" if name in self._started else "not started")
        self.refresh()

    def outlet(self, work: Work) -> Outlet:
        """Where the progress of a piece goes."""
        return self._outlets[work.name]

    def started(self, work: Work) -> None:
        self._started[work.name] = time.monotonic()
        self._set(work, "starting", moving=True)

    def done(self, work: Work, result: str) -> None:
        self._end(work)
        self._set(work, f"{result}  in {duration(self._took[work.name])}")
        self.outlet(work).say(f"{work.name}: {result}; {self._summary()}", routine=True)

    def failed(self, work: Work, why: str) -> None:
        self._end(work)
        self._set(work, f"failed: {why.splitlines()[-1]}")
        self.outlet(work).say(f"{work.name}: failed: {why}")

    def stopped(self, work: Work) -> None:
        self._end(work)
        self._set(work, "stopped")

    def skipped(self, work: Work, why: str) -> None:
        self._end(work)
        self._set(work, "another process is running it")
        self.outlet(work).say(f"{work.name}: skipped: {why}")

    def refresh(self) -> None:
        if self._table:
            self._table.footer = self._summary()
            self._table.draw()

    def _end(self, work: Work) -> None:
        self._took[work.name] = time.monotonic() - self._started.get(work.name, time.monotonic())

    def _set(self, work: Work, state: str, moving: bool = False) -> None:
        if self._table:
            self._table.footer = self._summary()
            self._rows[work.name].set(state, moving)

    def _summary(self) -> str:
        ended, number = len(self._took), len(self._works)
        left = self._seconds_left()
        return f"{ended} of {number} {self._noun}s done" + (f", about {duration(left)} left" if left else "")

    def _seconds_left(self) -> float | None:
        """Of the whole: what pieces at work say themselves, and the estimates of the others; None if not known."""
        left = []
        for work in self._works:
            if work.name in self._took:
                continue
            if work.seconds is None:
                return None
            step = self._outlets[work.name].steps.get(work.name)
            spent = time.monotonic() - self._started.get(work.name, time.monotonic())
            if step is not None and step.seconds_left < float("inf"):
                left.append((step.seconds_left, work.alone))
            else:
                left.append((max(work.seconds - spent, 0.0), work.alone))
        return expected_seconds(left, self._jobs)


class _Followed:
    """An outlet that also remembers how far the work is."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.steps: dict[str, Step] = {}  # by label

    def say(self, message: str, routine: bool = False) -> None:
        self._outlet.say(message, routine)

    def show(self, step: Step) -> None:
        self.steps[step.label] = step
        self._outlet.show(step)

    def over(self, label: str) -> None:
        self.steps.pop(label, None)
        self._outlet.over(label)
