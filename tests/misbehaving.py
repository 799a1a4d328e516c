"""Methods that fail in ways that methods of users do; each is registered by hand, as in a user's script."""

from __future__ import annotations

import os
import signal
import sys
import warnings

from baselines.mean_pose import MeanPose


class Broken(MeanPose):
    """Has a bug."""

    name = "broken"

    def prepare(self, training) -> None:
        print("about to break")
        warnings.warn("this will break", stacklevel=1)
        raise ZeroDivisionError("a bug of the method")


class Greedy(MeanPose):
    """Is killed as by a system that is out of memory."""

    name = "greedy"

    def prepare(self, training) -> None:
        print("a last word", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
