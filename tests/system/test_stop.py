from __future__ import annotations

import os
import signal
import time

import pytest

from bench.system.stop import SIGNALS, Stopped, stoppable


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(0.01)  # the interpreter runs the handler before the next instruction or two


@pytest.mark.parametrize("signum", SIGNALS)
def test_the_signal_becomes_an_exception_and_the_old_handlers_come_back(signum: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Stopped, match=signal.Signals(signum).name) as caught, stoppable():
        send(signum)
    assert caught.value.signum == signum
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_except_exception_does_not_swallow_it() -> None:
    def careless() -> None:
        with stoppable():
            try:
                send(signal.SIGTERM)
            except Exception:
                pytest.fail("swallowed")

    with pytest.raises(Stopped):
        careless()


def test_a_second_signal_does_not_interrupt_the_saving() -> None:
    saved = []

    def careful() -> None:
        with stoppable():
            try:
                send(signal.SIGUSR1)
            finally:
                send(signal.SIGTERM)
                saved.append("checkpoint")

    with pytest.raises(Stopped):
        careful()
    assert saved


def test_a_forked_worker_ends_as_without_the_handler() -> None:
    with stoppable():
        child = os.fork()
        if child == 0:
            try:
                send(signal.SIGTERM)
            finally:
                os._exit(0)  # only reached if the signal raised or was ignored
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
