"""A process ends when the head of its cluster is lost."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from gansweep.search import head_watch
from tests.ports import answer_as_head

WATCH = """
import logging, sys, threading
from gansweep.search import head_watch
from tests.ports import answer_as_head
head_watch._PERIOD_S = 0.1
head_watch.PATIENCE_S = 1.0
head_watch.ENDING_PATIENCE_S = 0.3
logging.basicConfig(format="%(message)s")
over = threading.Event()
threading.Timer(float(sys.argv[2]), over.set).start()
interrupted = threading.Event()
if "interrupted" in sys.argv:
    interrupted.set()
head_watch._watch(sys.argv[1], over, interrupted)
print("over")
"""


UNREAD = """
import os, sys
reader, writer = os.pipe()
os.close(reader)
sys.stdout = os.fdopen(writer, "w")
print("this cannot be flushed")
"""


def _watched(
    seconds: float, *, away: float | None = None, code: str = WATCH, how: str = ""
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Watches a head that is there for a second, and then away for so long; None: for ever.

    Args:
        seconds: how long it is watched.
        away: how long it is away.
        code: what watches it.
        how: "interrupted": the process that watches has been told to end.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, address, str(seconds), how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        answer_as_head(server, 1.0)
    if away is not None:
        time.sleep(away)
        with socket.create_server(("127.0.0.1", int(address.partition(":")[2]))) as again:
            answer_as_head(again, seconds)
    out, said = process.communicate(timeout=60)
    return address, subprocess.CompletedProcess(command, process.returncode, out, said)


def test_a_process_whose_head_is_lost_ends_in_one_line() -> None:
    address, ended = _watched(20.0)
    assert (ended.returncode, ended.stdout) == (2, "")
    lost = f"{address}: the Ray cluster is lost (nothing answers there: Connection refused)"
    assert ended.stderr == f"{lost}; when it is back, run the command again (a sweep with --resume)\n"


def test_a_process_whose_head_and_reader_are_lost_ends_too() -> None:
    _, ended = _watched(6.0, code=UNREAD + WATCH)
    assert ended.returncode == 2


def test_a_process_that_is_told_to_end_with_its_head_is_interrupted() -> None:
    _, ended = _watched(20.0, how="interrupted")
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "stopped, and Ray with it; run the command again to go on (a sweep with --resume)\n"


@pytest.mark.parametrize(("late", "status"), [(1, None), (4, 130)])
def test_a_busy_head_that_is_late_once_does_not_end_a_process_that_is_told_to(
    late: int, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ended: list[int] = []
    over = threading.Event()
    interrupted = threading.Event()
    interrupted.set()

    def answer(address: str) -> str:
        asked.append(address)
        if len(asked) in range(3, 3 + late):
            time.sleep(0.3)
            return "it accepts connections and has not answered"
        if len(asked) > 8:
            over.set()
        return ""

    def end(number: int) -> None:
        ended.append(number)
        over.set()

    monkeypatch.setattr(head_watch, "silence_of", answer)
    monkeypatch.setattr(head_watch, "_PERIOD_S", 0.01)
    monkeypatch.setattr(head_watch, "ENDING_PATIENCE_S", 0.2)
    monkeypatch.setattr(head_watch, "_end", end)
    head_watch._watch("head:6379", over, interrupted)
    assert ended == ([] if status is None else [status])


def test_a_process_that_is_told_to_end_has_the_time_that_it_needs() -> None:
    _, ended = _watched(1.0, how="interrupted")  # over before the head is lost
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_a_head_that_is_away_for_a_moment_ends_no_process() -> None:
    _, ended = _watched(3.0, away=0.4)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_a_head_that_cannot_be_reached_from_here_ends_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WATCH, address, "3"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("over\n", "")
