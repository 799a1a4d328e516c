"""Pieces of work one after another in this process, or several at a time, each in a worker process of its own.

What a piece computes does not depend on how many are done at a time: it gets the same data, settings and number of
threads. One whose model computes on all cores has the machine for itself. A piece that fails, or whose worker is
killed, does not stop the others; when this process is stopped or dies, its workers stop resumably.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from bench.data.split import Split
from bench.results import tracking
from bench.runs import worker as workers
from bench.runs.board import Board
from bench.runs.work import BusyError, Outcome, Surroundings, Work, explained
from bench.system import capacity
from bench.system.errors import BenchError
from bench.system.progress import shown_by
from bench.system.stop import Stopped

# An estimate for a run without its data: 0.56 GB of imported code were measured, of which forked workers share most,
# and the rest is for weights, optimiser and activations of a model below a million parameters; a larger one runs alone.
MEMORY_PER_RUN = 1_000_000_000

SECONDS_TO_STOP = 60.0  # for a worker to end an operation and to log that it was stopped; then it is killed


def carry_out(works: Sequence[Work], around: Surroundings, jobs: int, noun: str = "run") -> Outcome:
    """Do all of the work, at most `jobs` pieces at a time. noun: what a piece is called."""
    outcome, board = Outcome(), Board(works, jobs, noun)
    with board:
        if jobs == 1 or len(works) == 1:
            _one_after_another(works, around, board, outcome)
        else:
            _Coordinator(works, around, jobs, board, outcome).run()
    return outcome


def default_jobs(device: torch.device, split: Split) -> int:
    """As many as cores and memory allow; 1 on a GPU, which one run fills."""
    if device.type != "cpu":
        return 1
    free = capacity.free_memory()
    blocks = (split.training.keypoints_2d, split.training.poses_3d, split.testing.keypoints_2d, split.testing.poses_3d)
    each = MEMORY_PER_RUN + sum(block.nbytes for block in blocks)
    return max(1, min(capacity.cores(), capacity.cores() if free is None else free // each))


# A server imports once and forks each worker in milliseconds; macOS's own libraries do not survive a fork.
_START = "forkserver" if "forkserver" in mp.get_all_start_methods() and sys.platform != "darwin" else "spawn"


def get_ready(jobs: int, track: bool) -> None:
    """Begin to import what workers need, in a process beside this one; `carry_out` does it too, but later."""
    if jobs > 1 and _START == "forkserver":
        mp.set_forkserver_preload([*workers.IMPORTS, *(tracking.imports() if track else ())])
        resource_tracker.ensure_running()  # before the mask: it sets one of its own
        with workers.signals_held():
            forkserver.ensure_running()


# --- one after another


def _one_after_another(works: Sequence[Work], around: Surroundings, board: Board, outcome: Outcome) -> None:
    for work in works:
        board.started(work)
        with shown_by(board.outlet(work)):
            try:
                board.done(work, work.do(around.split, around.device, around.invocation))
            except BusyError as error:
                outcome.elsewhere.append(work.name)
                board.skipped(work, str(error))
            except Exception as error:  # a method may raise anything
                outcome.failed[work.name] = error
                board.failed(work, explained(error))


# --- the coordinator of several


@dataclass
class _Worker:
    """A worker process. messages: method names of an outlet with their arguments, at the end how it ended."""

    work: Work
    process: BaseProcess
    messages: Connection
    output: Connection  # what it writes to standard output and error
    ended: tuple[str, Any, str] | None = None


class _Coordinator:
    """Starts workers, shows what they report, and notes how they ended."""

    def __init__(self, works: Sequence[Work], around: Surroundings, jobs: int, board: Board, outcome: Outcome) -> None:
        self._around, self._jobs, self._board, self._outcome = around, jobs, board, outcome
        self._waiting = sorted(works, key=lambda work: -(work.seconds or 0.0))  # the longest first; else in order
        self._workers: list[_Worker] = []
        self._stopping = False
        self._context: Any = mp.get_context(_START)

    def run(self) -> None:
        get_ready(self._jobs, self._around.invocation.run_id is not None)
        try:
            while self._waiting or self._workers:
                while (work := self._next()) is not None:
                    self._waiting.remove(work)
                    self._start(work)
                self._listen(timeout=1.0)
                self._board.refresh()
        finally:
            if self._workers:
                self._stop()

    def _next(self) -> Work | None:
        """The longest piece of work that may start now."""
        running = [worker.work for worker in self._workers]
        if len(running) >= self._jobs or any(work.alone for work in running):
            return None
        busy = frozenset[Path]().union(*(work.folders for work in running))
        free = (work for work in self._waiting if not (work.folders & busy or (work.alone and running)))
        return next(free, None)

    def _start(self, work: Work) -> None:
        try:
            order = pickle.dumps(workers.Order.of(work, self._around))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self._note(work, ("failed", BenchError(f"no worker process can do it ({error}); use --jobs 1"), ""))
            return
        receiver, sender = self._context.Pipe(duplex=False)
        output, printed = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=workers.carry_out, args=(dict(os.environ), order, sender, printed), name=work.name
        )
        with sender, printed, nullcontext() if _START == "forkserver" else workers.signals_held():
            process.start()
        self._workers.append(_Worker(work, process, receiver, output))
        self._board.started(work)

    def _listen(self, timeout: float) -> None:
        """Pass on what workers say, until nothing more is there; and note those that have ended."""
        by_end = {end: worker for worker in self._workers for end in (worker.messages, worker.output)}
        for end in connection.wait([end for end in by_end if not end.closed], timeout):
            worker = by_end[end]  # type: ignore[index]
            if end is worker.output:
                self._pass_on_output(worker)
                continue
            try:
                name, *arguments = pickle.loads(worker.messages.recv_bytes())
            except Exception:  # it has ended, perhaps in the middle of a message
                self._close(worker)
                continue
            if name == "ended":
                worker.ended = arguments[0], arguments[1], arguments[2]
            else:
                getattr(self._board.outlet(worker.work), name)(*arguments)

    def _pass_on_output(self, worker: _Worker) -> None:
        try:
            found = os.read(worker.output.fileno(), 65536)
        except OSError:
            found = b""
        if not found:
            worker.output.close()
        for line in found.decode(errors="replace").splitlines():
            self._board.outlet(worker.work).say(f"{worker.work.name}: {line}")

    def _close(self, worker: _Worker) -> None:
        """A worker has ended."""
        while not worker.output.closed and worker.output.poll():
            self._pass_on_output(worker)
        worker.output.close()
        worker.messages.close()
        worker.process.join()
        self._workers.remove(worker)
        self._note(worker.work, worker.ended or ("died", worker.process.exitcode, ""))
        worker.process.close()

    def _note(self, work: Work, ended: tuple[str, Any, str]) -> None:
        how, what, text = ended
        if how == "done":
            self._board.done(work, what)
        elif how == "busy":
            self._outcome.elsewhere.append(work.name)
            self._board.skipped(work, str(what))
        elif self._stopping:
            self._board.stopped(work)
        else:
            error = what if how == "failed" else BenchError(what) if how == "stopped" else _died(what)
            self._outcome.failed[work.name] = error
            self._board.failed(work, text or str(error))
        if how == "died":
            self._around.invocation.end_dead_runs()

    def _stop(self) -> None:
        """Stop every worker resumably and wait until all are gone; a second Ctrl-C ends them at once."""
        self._stopping = True
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with suppress(KeyboardInterrupt, Stopped):
                for worker in self._workers:
                    if worker.process.pid is not None:
                        with suppress(ProcessLookupError):
                            os.kill(worker.process.pid, signum)
                until = time.monotonic() + SECONDS_TO_STOP
                while self._workers and time.monotonic() < until:
                    self._listen(timeout=0.5)


def _died(status: int | None) -> Exception:
    """The error of a worker that ended without a word. status: as of `multiprocessing`, negative for a signal."""
    if status == -signal.SIGKILL:
        return BenchError("killed by SIGKILL, perhaps for want of memory; try fewer --jobs")
    if status is not None and status < 0:
        return RuntimeError(f"its process was killed by {signal.Signals(-status).name}")
    return RuntimeError(f"its process ended without a result, with status {status}")
