"""Signals that end a process like Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from gansweep.search.interrupts import ending_like_interrupts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_ending_signal_is_an_interrupt(number: signal.Signals, request: pytest.FixtureRequest) -> None:
    # Under nohup, SIGHUP would be ignored; and whoever ran in this process before may have left a handler of its own.
    request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)

    came = []

    def end() -> None:
        with ending_like_interrupts() as interrupted:
            came.append(interrupted)
            assert not interrupted.is_set()
            os.kill(os.getpid(), number)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        end()
    assert came[0].is_set()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_an_interrupts_own_handler_hears_it() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with ending_like_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_under_nohup_a_closed_terminal_is_not_heard() -> None:
    code = (
        "import os, signal\n"
        "from gansweep.search.interrupts import ending_like_interrupts\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with ending_like_interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('went on')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "went on\n"
