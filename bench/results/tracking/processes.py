"""The process of a run as a text, so that another process can check whether it still lives.

The check must be certain, since another process resumes a run that is taken for dead. Containers of one image may share
a host name and number their processes alike. So the text names, besides host and process, the boot of the kernel and
the PID namespace, which numbers the processes of one container.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple

FIRST_NAMESPACE = "4026531836"  # the PID namespace outside of all containers: a constant of the Linux kernel


class Process(NamedTuple):
    """A process. What is not known is empty; outside of Linux, all but `host` and `pid`."""

    host: str
    pid: str
    started: str = ""  # ticks from boot to its start: process numbers are used again
    boot: str = ""  # identity of the boot of the kernel
    namespace: str = ""  # number of the PID namespace


def this() -> str:
    """This process as a text, "host:pid:started:boot:namespace"."""
    pid = os.getpid()
    return ":".join(Process(platform.node(), str(pid), _started(pid), _boot(), _namespace()))


def is_dead(text: str) -> bool:
    """Whether the process that `this` named is certainly gone. Texts of earlier versions lack the last parts."""
    found, here = Process(*[*text.split(":"), "", ""][:5]), Process(*this().split(":"))
    if found.host != here.host or not found.pid.isdigit() or os.name == "nt":
        return False
    if found.boot and found.boot != here.boot:
        # Either this machine has booted since, or this is another machine with the same host name.
        return bool(here.boot) and found.namespace == here.namespace == FIRST_NAMESPACE
    if found.namespace and found.namespace != here.namespace:
        return False  # another container of this machine: its processes are not seen from here
    if found.started:
        return _started(int(found.pid)) != found.started
    try:
        os.kill(int(found.pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _started(pid: int) -> str:
    """The start time of a living process in ticks; empty for one that has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")  # noqa: PTH115  # the link leads nowhere
    except OSError:
        return ""
