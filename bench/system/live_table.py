"""A live table at the bottom of a terminal: one line per piece of work and one for the whole.

It is drawn over itself in a single write, from plain escape sequences that every terminal of this century knows. No
line is wider than the terminal; what is said meanwhile goes above it. When it ends, it stays as it was last drawn.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from bench.system.progress import Step, duration

DRAWN_EVERY_SECONDS = 0.2
LONGEST_NAME = 20  # columns, so that state, percent, time left, epoch and loss fit into 80 beside it

UP, TO_END, BELOW = "\x1b[{}A\r", "\x1b[K", "\x1b[J"  # lines up; clear the rest of the line; clear all that follows
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"


def terminal_draws() -> bool:
    """Whether standard error is a terminal that can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Row:
    """The line of one piece of work: an outlet of progress.

    state: shown while no work reports how far it is. activities: what the table calls the work with a label.
    """

    def __init__(self, table: LiveTable, name: str, activities: Mapping[str, str]) -> None:
        self._table, self._name, self._activities = table, name, activities
        self._steps: list[Step] = []  # the last is the innermost: a validation within a training
        self.state, self.moving = "waiting", False

    def set(self, state: str, moving: bool = False) -> None:
        """State what it does. moving: it is at work, so its line is shown before others if there is too little room."""
        self.state, self.moving = state, moving
        self._steps.clear()
        self._table.draw()

    def say(self, message: str, routine: bool = False) -> None:
        self._table.say(message, routine)

    def show(self, step: Step) -> None:
        for number, known in enumerate(self._steps):
            if known.label == step.label:
                self._steps[number] = step
                break
        else:
            self._steps.append(step)
        self._table.draw(soon=True)

    def over(self, label: str) -> None:
        self._steps = [step for step in self._steps if step.label != label]
        self.state = "working"

    def text(self, width: int) -> str:
        """The line, its name filled up to `width`."""
        name = f"{self._name[:width]:{width}}"
        if not self._steps:
            return f"{name} {self.state}"
        step = self._steps[-1]
        activity = self._activities.get(step.label, self.state)
        percent = f"{100 * step.done / max(step.total, 1):.0f} %"
        left = f"{duration(step.seconds_left)} left" if step.seconds_left < float("inf") else ""
        beside = "  ".join(f"{key} {step.shown[key]}" for key in ("epoch", "loss") if key in step.shown)
        return f"{name} {activity:<9}{percent:>5}  {left:<16} {beside}"


class LiveTable:
    """The table. footer: its last line, about the whole."""

    def __init__(self, rows: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        self.rows = [Row(self, name, activities) for name, activities in rows]
        self.footer = ""
        self._drawn: list[str] = []
        self._columns = 0
        self._drawn_at = 0.0

    def __enter__(self) -> LiveTable:
        self.draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draw()

    def say(self, message: str, routine: bool = False) -> None:
        """Write a line above the table; nothing if it is routine."""
        if not routine:
            self.draw(above=message)

    def draw(self, soon: bool = False, above: str = "") -> None:
        """Draw the table over itself. soon: only if it was last drawn a while ago. above: text to write before it."""
        if soon and time.monotonic() - self._drawn_at < DRAWN_EVERY_SECONDS:
            return
        self._drawn_at = time.monotonic()
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
        cut = [line[: columns - 1].rstrip() for line in self._lines(max(lines - 2, 1))]
        if cut == self._drawn and columns == self._columns and not above:
            return
        text = UP.format(up) if (up := _rows_on_screen(self._drawn, columns)) else "\r"
        text += "".join(line + TO_END + "\n" for line in above.splitlines())
        text += NO_WRAP + "".join(line + TO_END + "\n" for line in cut) + BELOW + WRAP
        self._drawn, self._columns = cut, columns
        sys.stderr.write(text)
        sys.stderr.flush()

    def _lines(self, room: int) -> list[str]:
        """At most `room` lines and the footer: if not all rows fit, those at work and the next ones in order."""
        rows = self.rows
        if len(rows) > room:
            first = next((number for number, row in enumerate(rows) if row.moving), 0)
            ranked = sorted(range(len(rows)), key=lambda number: (not rows[number].moving, number < first, number))
            rows = [rows[number] for number in sorted(ranked[:room])]
        width = min(max(len(row._name) for row in self.rows), LONGEST_NAME)
        return [*(row.text(width) for row in rows), self.footer]


def _rows_on_screen(drawn: list[str], columns: int) -> int:
    """The rows that lines drawn earlier take now: a terminal that was made narrower has wrapped them."""
    return sum(max(1, -(-len(line) // columns)) for line in drawn)
