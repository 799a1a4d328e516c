"""Runs side by side that are stopped: no process is left, and the same command ends with the same numbers."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import h36m_positions, save_h36m

from bench.config import load_benchmark
from bench.method import checkpoint
from bench.runs.launch import run_benchmark
from bench.runs.plan import make_plan
from bench.training.loop import resumable_epochs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds processes in /proc"),
]

PEOPLE = """
title: Tiny people
protocol:
  dataset: h36m
  keypoints: gt
  frames: 9
  train_subjects: [S1]
  test_subjects: [S9]
methods:
  videopose3d: {model: {dim: 8}, recipe: {epochs: 100, batch_windows: 16, window_stride: 9}}
  mixste: {model: {dim: 8, depth: 1, heads: 2}, recipe: {epochs: 100, batch_windows: 16, window_stride: 9}}
"""
COMMAND = (sys.executable, "-m", "bench.cli", "run", "people.yaml", "--data", "data", "--no-track", "--jobs", "2")


@pytest.fixture(autouse=True)
def people(tmp_path, monkeypatch) -> None:
    """A current folder with `people.yaml` and its data."""
    (tmp_path / "people.yaml").write_text(PEOPLE)
    videos = {"S1": {"Sitting 1": 60, "Walking": 60}, "S9": {"Photo": 15, "Walking 1": 12}}
    save_h36m(tmp_path / "data" / "h36m", *h36m_positions(videos))
    monkeypatch.chdir(tmp_path)


def planned(*changes: str):
    return make_plan(load_benchmark("people.yaml", changes), data="data").runs


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def alive(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_leaves_no_process_and_goes_on_to_the_same_numbers(signum, monkeypatch, tmp_path):
    started = subprocess.Popen(COMMAND, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    runs = planned()
    wait_for(lambda: all((run.folder / "last.pt").is_file() for run in runs))
    if signum == signal.SIGINT:
        os.killpg(started.pid, signum)  # as a terminal does; and an impatient user
        time.sleep(0.3)
        os.killpg(started.pid, signum)
    else:
        started.send_signal(signum)
    said = started.communicate(timeout=120)[0].decode()
    # If the second Ctrl-C comes when Python is about to exit with 130, it ends by the signal: 130 to a shell, too.
    statuses = {signal.SIGINT: (130, -signal.SIGINT), signal.SIGTERM: (143,), signal.SIGKILL: (-signal.SIGKILL,)}
    assert started.returncode in statuses[signum], said
    wait_for(lambda: not alive(started.pid), seconds=60 if signum == signal.SIGKILL else 5)
    assert "Traceback" not in said
    reached = [resumable_epochs(run.folder) for run in runs]
    assert all(0 < epochs < 100 for epochs in reached), reached
    if signum != signal.SIGTERM:
        return
    again = subprocess.run(COMMAND, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert re.search(rf"continue after epoch {reached[0]}$", again.stderr, re.MULTILINE)
    folders = [run.folder for run in runs]
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "straight"))
    run_benchmark(load_benchmark("people.yaml"), data="data", device="cpu", track=False, quiet=True)
    for here, there in zip(folders, (run.folder for run in planned()), strict=True):
        ours, others = (checkpoint.load(folder / "weights.pt")["method"] for folder in (here, there))
        assert all(torch.equal(ours[name], others[name]) for name in ours)
        with np.load(here / "predictions.npz") as mine, np.load(there / "predictions.npz") as theirs:
            assert (mine["poses_3d"] == theirs["poses_3d"]).all()


@pytest.mark.parametrize(("columns", "jobs"), [(80, "2"), (50, "1")])
def test_in_a_terminal_no_line_of_the_table_is_wider_and_the_results_stay(columns, jobs):
    written, status = in_terminal([*COMMAND[:-1], jobs, "--set", "recipe.epochs=3"], columns)
    assert status == 0, written
    drawn = re.findall(r"([^\x1b\r\n]*)\x1b\[K", written.replace("\x1b[?7l", ""))
    assert max(map(len, drawn)) < columns
    assert any(re.match(r"mixste-s0 +train +\d+ %", line) for line in drawn)
    assert [re.sub(r"[\d.]+ mm  in .*", "RESULT", line) for line in drawn[-3:]] == [
        "videopose3d-s0 RESULT", "mixste-s0      RESULT", "2 of 2 runs done"
    ]  # fmt: skip
    after = written.rpartition("\x1b[?7h")[2]
    assert after.split()[:2] == ["Tiny", "people"], "wrapping is restored, and the closing table follows"
    assert re.search(r"^VideoPose3D +0 +[\d.]+", after, re.MULTILINE)


def in_terminal(command: list[str], columns: int) -> tuple[str, int]:
    """What a command writes to a terminal, and its exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    written = b""
    while True:
        try:
            written += os.read(terminal, 65536)
        except OSError:  # it has ended
            return written.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
