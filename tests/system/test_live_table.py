"""The live table on a terminal, as a terminal shows it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

from bench.system.live_table import LiveTable
from bench.system.progress import Progress, Step, say, shown_by


class Screen:
    """A terminal of some columns and 12 lines that standard error is connected to."""

    def __init__(self, columns: int) -> None:
        self.terminal, other = pty.openpty()
        self.resize(columns)
        self.stream = os.fdopen(other, "w")
        self.lines, self.row = [""], 0

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 12, columns, 0, 0))

    def read(self) -> list[str]:
        """What it shows, after obeying the escape sequences."""
        os.write(self.stream.fileno(), b"\x00")
        written = b""
        while not written.endswith(b"\x00"):
            written += os.read(self.terminal, 65536)
        for token in re.findall(r"\x1b\[\??\d*[a-zA-Z]|\n|[^\x1b\r\n\x00]+", written.decode()):
            if token == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif re.fullmatch(r"\x1b\[\d+A", token):
                self.row -= int(token[2:-1])
            elif token == "\x1b[J":
                del self.lines[self.row + 1 :]
                self.lines[self.row] = ""
            elif token == "\x1b[K" and not self.fresh:
                self.lines[self.row] = ""
            elif not token.startswith("\x1b"):
                self.lines[self.row] = token
            self.fresh = not token.startswith("\x1b") and token != "\n"
        return [line for line in self.lines if line]

    fresh = False


@pytest.fixture
def screen(monkeypatch):
    def of(columns: int) -> Screen:
        found = Screen(columns)
        monkeypatch.setattr(sys, "stderr", found.stream)
        return found

    return of


def step(done: int, label: str = "a", **shown: str) -> Step:
    return Step(label, done, 200, "frame", 10.0, 125.0, shown)


def test_a_row_for_each_and_one_for_the_whole(screen):
    shown = screen(80)
    with LiveTable([("mixste-s0", {"a": "train", "a test": "test"}), ("pstmo-s0", {})]) as table:
        table.footer = "0 of 2 runs done"
        first, second = table.rows
        first.show(step(90, epoch="12", loss="0.01234", lr="0.1"))
        table.draw()
        assert shown.read() == [
            "mixste-s0 train     45 %  2 min 5 s left   epoch 12  loss 0.01234", "pstmo-s0  waiting", "0 of 2 runs done"
        ]  # fmt: skip
        first.show(step(100, label="a test"))
        table.draw()
        assert shown.read()[0] == "mixste-s0 test      50 %  2 min 5 s left"
        first.over("a test")
        first.over("a")
        first.set("54.3 mm")
        second.set("failed: no data")
        table.footer = "2 of 2 runs done"
    assert shown.read() == ["mixste-s0 54.3 mm", "pstmo-s0  failed: no data", "2 of 2 runs done"]


@pytest.mark.parametrize("columns", [80, 50, 20])
def test_no_line_is_wider_than_the_terminal(screen, columns):
    shown = screen(columns)
    with LiveTable([("a-method-with-a-rather-long-name-s0", {"a": "train"})]) as table:
        table.footer = "0 of 1 runs done, about 12 h 34 min left" * 2
        table.rows[0].show(step(199, epoch="1000", loss="0.0001234"))
    lines = shown.read()
    assert len(lines) == 2
    assert all(len(line) < columns for line in lines)


def test_what_is_said_stands_above_unless_it_is_routine(screen):
    shown = screen(80)
    with LiveTable([("one", {})]) as table, shown_by(table.rows[0]):
        say("a warning\nof two lines")
        say("epoch 1", routine=True)
        with Progress("work", 10) as progress:
            progress.update(5)
            say("another")
    assert shown.read() == ["a warning", "of two lines", "another", "one working"]


def test_a_narrower_terminal_leaves_no_lines_behind(screen):
    """It has wrapped what was drawn before, so the table begins further up."""
    shown = screen(80)
    with LiveTable([("one", {})]) as table:
        table.footer = "0 of 1 runs done"
        table.rows[0].set("x" * 60)
        shown.read()
        shown.resize(40)
        shown.lines, shown.row = [f"one {'x' * 36}", "x" * 24, "0 of 1 runs done", ""], 3
    assert shown.read() == [f"one {'x' * 35}", "0 of 1 runs done"]


def test_rows_that_do_not_fit_leave_room_for_those_at_work(screen):
    shown = screen(80)
    with LiveTable([(f"run {number:02}", {}) for number in range(30)]) as table:
        for number in range(20):
            table.rows[number].set("done")
        table.rows[20].set("starting", moving=True)
        table.rows[25].set("starting", moving=True)
        table.footer = "20 of 30 runs done"
    lines = shown.read()
    assert len(lines) == 11
    assert {"run 20 starting", "run 25 starting", "run 21 waiting", "20 of 30 runs done"} <= set(lines)
