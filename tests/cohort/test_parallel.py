"""Reading on several cores changes nothing, and says what one core says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gansweep.cohort.ingest import parallel
from gansweep.cohort.ingest.parallel import map_in_order
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.quiet import quiet
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_cohort_is_the_same_on_any_number_of_cores(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = set()
    for count in (1, 2, 5):
        monkeypatch.setattr(parallel, "cores", lambda count=count: count)
        hashes.add(ingest(phantom, tmp_path / str(count), IngestSettings(size=32)).info.content_hash)
    assert len(hashes) == 1


def test_results_keep_their_order_and_several_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    together = threading.Barrier(4, timeout=30)  # passes only if four threads are inside
    seen: list[Any] = []
    work = map_in_order(lambda item: (together.wait(), item)[1], range(8), "w", lambda *now: seen.append(now))
    assert list(work) == list(range(8))
    assert seen == [("w", number, 8) for number in range(1, 9)]


def test_one_core_needs_no_thread_and_reads_nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    monkeypatch.setattr(parallel, "MANY_FILES", 1)
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
        time.sleep(0.002)  # or all of them are done before this thread runs again

    with pytest.raises(ValueError, match="one"):
        list(map_in_order(work, range(1000), "w", None))
    assert len(started) < 1000


def test_processes_make_the_same_cohort(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    stages: set[str] = set()
    in_threads = ingest(phantom, tmp_path / "threads", IngestSettings(size=32))
    monkeypatch.setattr(parallel, "MANY_FILES", 1)
    in_processes = ingest(phantom, tmp_path / "processes", IngestSettings(size=32), lambda what, *_: stages.add(what))
    assert in_processes.info.content_hash == in_threads.info.content_hash
    assert stages == {"hashing files", "reading headers", "reading"}


def test_processes_share_the_work_and_keep_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "MANY_FILES", 1)
    found = list(map_in_order(lambda item: (item, os.getpid()), range(64), "w", None))
    assert [item for item, _ in found] == list(range(64))
    assert os.getpid() not in {process for _, process in found}


def test_an_error_in_a_process_is_the_readers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "MANY_FILES", 1)

    def work(item: int) -> None:
        if item == 5:
            raise CohortError("cannot be read", where="scan 5", fix="leave it out")

    with pytest.raises(CohortError, match=r"^scan 5: cannot be read; leave it out$"):
        list(map_in_order(work, range(100), "w", None))


def test_a_process_that_is_killed_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "MANY_FILES", 1)

    def work(item: int) -> None:
        if item == 5:
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
        "parallel.MANY_FILES, parallel.cores = 1, lambda: 2\n"
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
        "parallel.MANY_FILES, parallel.cores = 1, lambda: 2\n"
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
