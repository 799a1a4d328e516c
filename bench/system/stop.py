"""Stopping on request: a signal becomes an exception, so that `with` and `finally` do their work.

Slurm, `timeout` and `kill` send SIGTERM; Slurm can also send SIGUSR1 some minutes before the end. By default both end a
process at once: it could neither write its last checkpoint nor log how it ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """The process was asked to end; what it was doing may be resumed. No `except Exception` catches it.

    signum: the signal. A command ends with exit status 128 + signum, as a shell expects.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the main thread when SIGTERM or SIGUSR1 arrives in the block.

    Only the first signal counts: another must not interrupt the saving of the checkpoint. The earlier handlers are
    restored at the end. Raises ValueError if entered in any thread but the main one.
    """
    owner = os.getpid()

    def raise_stopped(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked data loader inherits the handler, but has nothing to save
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signum)

    before = {each: signal.signal(each, raise_stopped) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
