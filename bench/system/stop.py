"""Stopping on request: a signal becomes an exception, so that a run ends the way a block of code ends.

Slurm, `timeout` and `kill` send SIGTERM; Slurm can also send SIGUSR1 some minutes before the end. Both leave a process
no chance to write its last checkpoint or to say how it ended, unless they are turned into something that unwinds.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """The run is asked to end and may be resumed. Passes every `except Exception` on its way out.

    `.signum` is the signal; a command ends with exit status 128 + signum, as a shell expects.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the main thread when SIGTERM or SIGUSR1 arrives in the block.

    Only the first one: what follows it must not interrupt the saving of the checkpoint. The handlers from before come
    back at the end. To be entered in the main thread (ValueError elsewhere, from `signal.signal`).
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
