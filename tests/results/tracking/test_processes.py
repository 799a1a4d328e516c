"""A run is taken for dead only if its process is surely gone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from bench.results.tracking import processes
from bench.results.tracking.processes import FIRST_NAMESPACE, Process, is_dead, this

HERE = Process("node", "4711", "100", "boot-1", "4026532000")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """machine(here, alive) makes this process that one; alive: numbers and starts of the processes seen from here."""

    def become(here: Process, alive: dict[str, str] | None = None) -> None:
        monkeypatch.setattr(processes, "this", lambda: ":".join(here))
        monkeypatch.setattr(processes, "_started", lambda pid: (alive or {}).get(str(pid), ""))

    return become


def dead(process: Process) -> bool:
    return is_dead(":".join(process))


def test_this_process_is_identified_and_alive():
    process = Process(*this().split(":"))
    assert (process.host, process.pid) == (platform.node(), str(os.getpid()))
    if sys.platform == "linux":
        assert all(process), "start, boot and PID namespace are known"
        assert process.namespace.isdigit()
    assert not is_dead(this())


def test_a_process_that_has_ended_is_dead():
    code = "from bench.results.tracking.processes import this; print(this())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert is_dead(done.stdout.strip())


def test_processes_of_the_same_container_are_checked(machine):
    machine(HERE, {"7": "300"})
    assert not dead(HERE._replace(pid="7", started="300"))
    assert dead(HERE._replace(pid="7", started="200")), "its number was used again"
    assert dead(HERE._replace(pid="8", started="300"))


@pytest.mark.parametrize(
    "other",
    [
        HERE._replace(pid="1", namespace="4026532999"),
        HERE._replace(pid="1", boot="boot-2"),
        HERE._replace(pid="1", boot="boot-2", namespace="4026532999"),
        HERE._replace(pid="1", host="elsewhere"),
        HERE._replace(pid="1", namespace=FIRST_NAMESPACE),
    ],
    ids=["same machine", "same number on another machine", "another machine", "another name", "outside of containers"],
)
def test_what_runs_in_another_container_is_never_taken_for_dead(machine, other):
    machine(HERE)
    assert not dead(other)


def test_after_a_reboot_earlier_runs_are_dead(machine):
    machine(HERE._replace(boot="boot-2", namespace=FIRST_NAMESPACE), {HERE.pid: HERE.started})
    assert dead(HERE._replace(namespace=FIRST_NAMESPACE))
    assert not dead(HERE), "which ran in a container: perhaps of another machine of this name"


def test_an_unknown_process_is_taken_for_alive(machine):
    machine(HERE._replace(boot="", namespace=""))
    assert not dead(HERE)
    for text in ("", "node", "node:", "node:unknown:1"):
        assert not is_dead(text)


def test_texts_of_earlier_versions_are_understood(machine):
    machine(HERE, {"7": "300"})
    assert not is_dead("node:7:300")
    assert is_dead("node:7:200")
    assert not is_dead(f"node:{os.getpid()}"), "not even a start: any process of this number will do"
