"""A worker process: does one piece of work, and reports to the coordinator that started it."""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.config.schema import Protocol
from bench.data.load import cached_dataset
from bench.data.pose_dataset import PoseDataset
from bench.data.split import Split
from bench.method.registry import register, registered_here
from bench.results import tracking
from bench.runs.work import BusyError, Surroundings, Work, explained
from bench.system.device import one_thread
from bench.system.errors import BenchError
from bench.system.progress import Step, shown_by
from bench.system.stop import SIGNALS, Stopped, stoppable

# What a run imports, also later and indirectly, so that a server does it once for all workers.
IMPORTS = (
    *("bench.runs.launch", "bench.runs.sweep", "torch._dynamo", "torch.utils.flop_counter"),
    *("scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg", "mpl_toolkits.mplot3d"),
)

SENT_EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Order:
    """What a worker gets. method: a class that was registered by hand, which another process would not know."""

    do: Callable[[Split, torch.device, tracking.Invocation], str]
    open_split: Callable[[], Split]
    device: torch.device
    open_log: Callable[[], tracking.Tracker]
    parent: str | None
    threads: int
    method: type[Any] | None

    @classmethod
    def of(cls, work: Work, around: Surroundings) -> Order:
        parent = around.invocation.run_id
        return cls(
            work.do,
            _openable(around.split, around.protocol),
            around.device,
            around.open_log if parent else partial(tracking.open_tracker, "", enabled=False),
            parent,
            torch.get_num_threads(),
            registered_here(work.method),
        )


def carry_out(environment: dict[str, str], content: bytes, messages: Connection, output: Connection) -> None:
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
    with suppress(OSError):  # the coordinator is gone
        sys.stdout.flush()
        sys.stderr.flush()
        messages.send_bytes(pickle.dumps(("ended", *ended)))


def _carried_out(order: Order) -> str:
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
def signals_held() -> Iterator[None]:
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
