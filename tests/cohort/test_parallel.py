"""Reading on several cores changes nothing, and says what one core says."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from gansweep.cohort.ingest import parallel
from gansweep.cohort.ingest.parallel import START_SECONDS, map_in_order
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.quiet import quiet
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads everything in this process and another."""
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "_processes_are_worth_it", lambda *_: True)


@pytest.mark.parametrize(
    ("loading", "reading", "loaders", "read", "total", "worth"),
    [
        (0.0, 0.5, 0, 500, 10_000, True),  # 9.5 s are left
        (0.0, 0.5, 0, 500, 3_000, False),  # 2.5 s
        (0.0, 0.4, 0, 500, 10_000, False),  # too soon to tell
        (5.0, 0.5, 1, 500, 10_000, False),  # each process would load for 5 s
        (10.0, 0.0, 1, 0, 4, False),  # it may only have loaded
        (2.0, 0.0, 2, 0, 42, False),  # two that loaded
        (1.2, 0.1, 1, 1, 8, False),  # the other was left out
        (10.0, 10.0, 1, 1, 4, True),  # four long series
        (10.0, 10.0, 1, 1, 2, False),
        (0.0, 10.0, 0, 3, 1_000, True),  # one long among many
    ],
)
def test_processes_start_if_they_work_for_longer_than_they_take_to_start(
    loading: float, reading: float, loaders: int, read: int, total: int, worth: bool
) -> None:
    assert START_SECONDS == 1.5
    assert parallel._processes_are_worth_it(loading, reading, loaders, read, total) is worth


def test_long_work_begins_here_and_goes_on_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(parallel, "START_SECONDS", 0.05)
    seen: list[Any] = []

    def work(item: int) -> tuple[int, int]:
        time.sleep(0.01)
        return item, os.getpid()

    found = list(map_in_order(work, range(64), "w", lambda *now: seen.append(now)))
    assert [item for item, _ in found] == list(range(64))
    assert found[0][1] == found[1][1] == os.getpid()
    assert len({process for _, process in found}) == 2
    assert seen == [("w", number, 64) for number in range(1, 65)]


@pytest.mark.parametrize("loaders", [{0}, {1}, {2}, {0, 1}, {1, 4}])
def test_items_that_load_libraries_start_no_process(loaders: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(parallel, "START_SECONDS", 0.05)

    def work(item: int) -> int:
        if item in loaders:
            monkeypatch.setitem(sys.modules, f"library_{item}", ModuleType("library"))
            time.sleep(0.2)
        return os.getpid()

    assert set(map_in_order(work, range(8), "w", None)) == {os.getpid()}


def test_one_core_needs_no_thread_and_reads_nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    monkeypatch.setattr(parallel, "_processes_are_worth_it", lambda *_: True)
    began: list[tuple[int, int]] = []
    work = map_in_order(lambda item: began.append((item, threading.get_ident())), range(8), "w", None)
    next(work)
    assert began == [(0, threading.get_ident())]
    assert len(list(work)) == 7


def test_an_error_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    started = []

    def work(item: int) -> None:
        started.append(item)
        if item == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        list(map_in_order(work, range(1000), "w", None))
    assert started == [0, 1]


def test_processes_make_the_same_cohort(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    stages: set[str] = set()
    alone = ingest(phantom, tmp_path / "alone", IngestSettings(size=32))
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "_processes_are_worth_it", lambda *_: True)
    together = ingest(phantom, tmp_path / "together", IngestSettings(size=32), lambda what, *_: stages.add(what))
    assert together.info.content_hash == alone.info.content_hash
    assert stages == {"hashing files", "reading headers", "reading"}


@pytest.mark.usefixtures("in_processes")
def test_a_process_shares_the_work_and_the_order_is_kept() -> None:
    def work(item: int) -> tuple[int, int]:
        time.sleep(0.01)
        return item, os.getpid()

    found = list(map_in_order(work, range(400), "w", None))
    assert [item for item, _ in found] == list(range(400))
    by_process = Counter(process for _, process in found)
    assert len(by_process) == 2
    assert by_process[os.getpid()] >= 16, "this process works, too"


@pytest.mark.usefixtures("in_processes")
def test_an_error_in_a_process_is_the_readers_own() -> None:

    def work(item: int) -> None:
        if item == 5:
            raise CohortError("cannot be read", where="scan 5", fix="leave it out")

    with pytest.raises(CohortError, match=r"^scan 5: cannot be read; leave it out$"):
        list(map_in_order(work, range(100), "w", None))


@pytest.mark.usefixtures("in_processes")
def test_a_process_that_is_killed_is_told_in_one_line() -> None:

    here = os.getpid()

    def work(_: int) -> None:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(CohortError, match="a process that read them was ended"):
        list(map_in_order(work, range(100), "w", None))
    assert list(map_in_order(abs, range(8), "w", None)) == list(range(8)), "the next ingest has new processes"


@pytest.mark.slow
def test_a_script_without_a_guard_is_not_run_again(phantom: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from gansweep.cohort.ingest import parallel\n"
        "from gansweep import ingest\n"
        "print('started')\n"
        "parallel.cores, parallel._processes_are_worth_it = lambda: 2, lambda *_: True\n"
        f"print(ingest({str(phantom)!r}, {str(tmp_path / 'cohort')!r}).info.size)\n"
    )
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, ["started", "64"], "")


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_the_processes_without_a_word(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from gansweep.cohort.ingest import parallel\n"
        "parallel.cores, parallel._processes_are_worth_it = lambda: 2, lambda *_: True\n"
        "def slow(item):\n"
        "    time.sleep(0.01)\n"
        "try:\n"
        "    list(parallel.map_in_order(slow, range(5000), 'w', lambda *now: print(*now, flush=True)))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    command = [sys.executable, str(script)]
    # A terminal sends the signal to every process of its group.
    running = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, preexec_fn=heard)
    assert running.stdout is not None
    assert running.stdout.readline() == "w 1 5000\n"
    os.killpg(running.pid, signal.SIGINT)
    said, errors = running.communicate(timeout=30)
    assert said.endswith("interrupted\n")
    assert errors == ""
    deadline = time.monotonic() + 20
    while group_lives(running.pid):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.1)


def test_warnings_come_back_after_the_last_thread() -> None:
    before = list(warnings.filters)
    inside = threading.Barrier(2, timeout=30)

    def work() -> None:
        with quiet():
            inside.wait()
            warnings.warn("not shown", stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not caught
        warnings.warn("shown", stacklevel=1)
        assert [str(item.message) for item in caught] == ["shown"]
    assert warnings.filters == before


def _send_squares(connection: Any) -> None:
    connection.send(list(map_in_order(_square, range(40), "squares", None)))


def _square(number: int) -> int:
    return number * number


@pytest.mark.usefixtures("in_processes")
def test_a_daemonic_process_reads_alone() -> None:
    """Those of `multiprocessing.Pool` are such; they may start no processes."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send_squares, args=(sender,), daemon=True)
    process.start()
    sender.close()
    assert receiver.recv() == [number * number for number in range(40)]
    process.join(30)
