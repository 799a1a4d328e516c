"""Pieces of work one after another in this process, or several at a time, each in a worker process of its own.

What a piece computes does not depend on how many are done at a time: it gets the same data, settings and number of
threads. One whose model computes on all cores has the machine for itself. A piece that fails, or whose worker is
killed, does not stop the others; when this process is stopped or dies, its workers stop resumably.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from bench.config.schema import Protocol
from bench.data.load import cached_dataset
from bench.data.pose_dataset import PoseDataset
from bench.data.split import Split
from bench.method.registry import register, registered_here
from bench.results import tracking
from bench.system import capacity
from bench.system.device import one_thread
from bench.system.errors import BenchError
from bench.system.live_table import LiveTable, Row, terminal_draws
from bench.system.progress import Outlet, Silence, Step, current_outlet, duration, shown_by
from bench.system.stop import SIGNALS, Stopped, stoppable

# A run by itself: code, weights, optimiser and activations of a model below a million parameters; a larger one runs
# alone. Measured: 0.5 to 0.9 GB with batches of 243 frames. Its own part of the data comes on top.
MEMORY_PER_RUN = 1_000_000_000

SENT_EVERY_SECONDS = 0.2
SECONDS_TO_STOP = 60.0  # for a worker to end an operation and to log that it was stopped; then it is killed


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


def carry_out(works: Sequence[Work], around: Surroundings, jobs: int, noun: str = "run") -> Outcome:
    """Do all of the work, at most `jobs` pieces at a time. noun: what a piece is called."""
    outcome, board = Outcome(), _Board(works, jobs, noun)
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


# A server imports once and forks each worker in milliseconds; macOS's own libraries do not survive a fork.
_START = "forkserver" if "forkserver" in mp.get_all_start_methods() and sys.platform != "darwin" else "spawn"


def get_ready(jobs: int, track: bool) -> None:
    """Begin to import what workers need, in a process beside this one; `carry_out` does it too, but later."""
    if jobs > 1 and _START == "forkserver":
        mp.set_forkserver_preload(["bench.runs.launch", "bench.runs.sweep", *(tracking.imports() if track else ())])
        resource_tracker.ensure_running()  # before the mask: it sets one of its own
        with _signals_held():
            forkserver.ensure_running()


def explained(error: BaseException) -> str:
    """The message of a failure, with the traceback unless it was caused by user input."""
    if isinstance(error, BenchError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()


# --- one after another


def _one_after_another(works: Sequence[Work], around: Surroundings, board: _Board, outcome: Outcome) -> None:
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

    def __init__(self, works: Sequence[Work], around: Surroundings, jobs: int, board: _Board, outcome: Outcome) -> None:
        self._around, self._jobs, self._board, self._outcome = around, jobs, board, outcome
        self._waiting = sorted(works, key=lambda work: -(work.seconds or 0.0))  # the longest first; else in order
        self._workers: list[_Worker] = []
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
        around = self._around
        order = _Order(
            work.do,
            _openable(around.split, around.protocol),
            around.device,
            around.open_log if around.invocation.run_id else partial(tracking.open_tracker, "", enabled=False),
            around.invocation.run_id,
            torch.get_num_threads(),
            registered_here(work.method),
        )
        try:
            content = pickle.dumps(order)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self._note(work, ("failed", BenchError(f"no worker process can do it ({error}); use --jobs 1"), ""))
            return
        receiver, sender = self._context.Pipe(duplex=False)
        output, printed = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(dict(os.environ), content, sender, printed), name=work.name)
        with sender, printed, nullcontext() if _START == "forkserver" else _signals_held():
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
            except (EOFError, OSError):  # only its end closes the pipe
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
        elif how == "stopped":
            self._outcome.failed[work.name] = BenchError(what)
            self._board.failed(work, what)
        else:
            error = what if how == "failed" else _died(what)
            self._outcome.failed[work.name] = error
            self._board.failed(work, text or str(error))
            if how == "died":
                self._around.invocation.end_dead_runs()

    def _stop(self) -> None:
        """Stop every worker resumably and wait until all are gone; a second Ctrl-C ends them at once."""
        self._waiting.clear()
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


# --- a worker


@dataclass(frozen=True)
class _Order:
    """What a worker gets. method: a class that was registered by hand, which another process would not know."""

    do: Callable[[Split, torch.device, tracking.Invocation], str]
    open_split: Callable[[], Split]
    device: torch.device
    open_log: Callable[[], tracking.Tracker]
    parent: str | None
    threads: int
    method: type[Any] | None


def _work(environment: dict[str, str], content: bytes, messages: Connection, output: Connection) -> None:
    """Carry out an order in a worker process, and say how it ended."""
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator, which sends SIGTERM
    ended: tuple[str, Any, str]
    try:
        with stoppable():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            threading.Thread(target=_stop_with_coordinator, daemon=True).start()
            with shown_by(_Sender(messages)):
                ended = "done", _carried_out(pickle.loads(content)), ""
    except Stopped as error:
        ended = "stopped", str(error), ""
    except BusyError as error:
        ended = "busy", str(error), ""
    except BaseException as error:  # a method may raise anything
        ended = "failed", _sendable(error), explained(error)
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):  # the coordinator is gone
        messages.send_bytes(pickle.dumps(("ended", *ended)))


def _carried_out(order: _Order) -> str:
    torch.set_num_threads(order.threads)
    if order.method is not None:
        register(order.method)
    with one_thread():  # copies data, which no number depends on
        split = order.open_split()
    with order.open_log().joined(order.parent) as invocation:
        return order.do(split, order.device, invocation)


def _stop_with_coordinator() -> None:
    """Stop this worker resumably when its coordinator is gone, however it ended."""
    coordinator = mp.parent_process()
    if coordinator is not None:
        coordinator.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Sender:
    """The outlet of a worker: passes everything on to the coordinator."""

    def __init__(self, messages: Connection) -> None:
        self._messages = messages
        self._sent = 0.0

    def say(self, message: str, routine: bool = False) -> None:
        self._send("say", message, routine)

    def show(self, step: Step) -> None:
        """Sent only now and then, and not if the coordinator is slow to read: work never waits for it."""
        if time.monotonic() - self._sent > SENT_EVERY_SECONDS and select.select([], [self._messages], [], 0)[1]:
            self._sent = time.monotonic()
            self._send("show", step)

    def over(self, label: str) -> None:
        self._send("over", label)

    def _send(self, *message: object) -> None:
        with suppress(OSError):  # the coordinator is gone; this worker is told to stop
            self._messages.send_bytes(pickle.dumps(message))


def _sendable(error: BaseException) -> Exception:
    """An error that survives the way to the coordinator."""
    if isinstance(error, Exception):
        with suppress(Exception):
            again = pickle.loads(pickle.dumps(error))
            if type(again) is type(error) and str(again) == str(error):
                return error
    message = str(error) or type(error).__name__
    return BenchError(message) if isinstance(error, BenchError) else RuntimeError(message)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes that are started in the block hold back signals, until they can handle them; so does this one."""
    held = (signal.SIGINT, *SIGNALS)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- the data, for a worker: its memory-mapped copy if there is one, else all of it


def _openable(split: Split, protocol: Protocol) -> Callable[[], Split]:
    trained, tested = protocol.trained_on, protocol.tested_on
    try:
        cached_dataset(trained.dataset, trained.keypoints, split.training.fingerprint)
        cached_dataset(tested.dataset, tested.keypoints, split.testing.fingerprint)
    except BenchError:
        return partial(_given, split)
    return partial(_opened, protocol, split.training.fingerprint, split.testing.fingerprint)


def _given(split: Split) -> Split:
    return split


def _opened(protocol: Protocol, trained_on: str, tested_on: str) -> Split:
    def part(which: Any, fingerprint: str) -> PoseDataset:
        return cached_dataset(which.dataset, which.keypoints, fingerprint)

    other = part(protocol.tested_on, tested_on) if protocol.crosses else None
    return Split.of(protocol, part(protocol.trained_on, trained_on), other)


# --- what is shown


class _Board:
    """Shows how far the work is: a live table in a terminal, plain lines elsewhere, nothing in silence."""

    def __init__(self, works: Sequence[Work], jobs: int, noun: str) -> None:
        self._works, self._jobs, self._noun = works, jobs, noun
        self._outlet = current_outlet()
        self._started: dict[str, float] = {}
        self._took: dict[str, float] = {}  # of those that have ended
        self._table: LiveTable | None = None
        self._rows: dict[str, Row] = {}
        if terminal_draws() and not isinstance(self._outlet, Silence):
            self._table = LiveTable((work.title, work.activities) for work in works)
            self._rows = dict(zip((work.name for work in works), self._table.rows, strict=True))

    def __enter__(self) -> _Board:
        self.refresh()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name, row in self._rows.items():
            if name not in self._took and kind is not None:
                row.state = "stopped" if name in self._started else "not started"
        self.refresh()

    def outlet(self, work: Work) -> Outlet:
        """Where the progress of a piece goes."""
        return self._rows.get(work.name, self._outlet)

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
        """Of the whole; None if not known. Estimates are corrected by what the pieces done so far have taken."""
        known = {work.name: work.seconds for work in self._works if work.seconds is not None}
        done = [name for name in self._took if known.get(name)]
        estimated, took = sum(known[name] for name in done), sum(self._took[name] for name in done)
        correction = took / estimated if estimated else 1.0
        left = []
        for work in self._works:
            if work.name in self._took:
                continue
            if work.name not in known:
                return None
            spent = time.monotonic() - self._started[work.name] if work.name in self._started else 0.0
            reported = self._rows[work.name].seconds_left if work.name in self._rows else 0.0
            left.append((max(correction * known[work.name] - spent, reported), work.alone))
        return expected_seconds(left, self._jobs)
