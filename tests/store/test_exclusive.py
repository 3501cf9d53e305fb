"""One process at a time drives a sweep, and none that is dead."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from gansweep.errors import StoreError
from gansweep.store import claims, filesystem
from gansweep.store.store import Store
from tests.store.failing import flaky_s3

DRIVE = """
import sys, time
from gansweep.store.store import Store
with Store.open(sys.argv[1]).exclusive():
    print("driving", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def driver(store):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DRIVE, store.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "driving\n"
        yield process
        process.kill()


def test_a_second_driver_is_told_of_the_first(store, driver):
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC"
    said = rf"first: process {driver.pid} on \S+, {since}, is at work on this sweep; wait for it"
    with pytest.raises(StoreError, match=said), store.exclusive():
        pass


def test_a_killed_driver_is_in_nobodys_way(store, driver):
    driver.kill()
    driver.wait()
    for _ in range(2):
        with Store.open(store.uri).exclusive():
            assert f"process {os.getpid()} on " in (store.local / ".driver").read_text()


def test_a_process_that_was_forked_meanwhile_does_not_keep_a_store(store):
    with store.exclusive():
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        with store.exclusive():
            pass
        assert store.driver_has_ended()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_sweep_whose_visible_files_were_deleted_can_begin_again(store, info):
    with store.exclusive():
        pass
    subprocess.run(f"rm -r {store.local}/*", shell=True, check=True)
    assert [path.name for path in store.local.iterdir() if path.name != ".lock"] == [".driver"]
    assert Store.create(str(store.local.parent), "first", info).trials_begun() == 0


@pytest.fixture
def remote(info, monkeypatch):
    """An S3 server and a store on it, of which claims are written and missed in short times."""
    for name, seconds in (("BEAT_S", 0.2), ("SILENCE_S", 2.0), ("_SETTLE_S", 0.1)):
        monkeypatch.setattr(claims, name, seconds)
    with flaky_s3(monkeypatch) as (server, storage):
        # The servers of all tests in this process have the same buckets.
        yield server, Store.create(storage.replace("/runs?", f"/{uuid.uuid4().hex}?"), "first", info)


def claim_of(store, **changes):
    """Writes a claim of a process that says no more."""
    found = {"holder": "process 7 on elsewhere, since 2026,", "machine": "elsewhere", "pid": 7, "token": "x"}
    store.write_bytes(".driver", json.dumps(found | changes).encode())


def beats_of(store):
    return json.loads(store.read_bytes(".driver"))["beats"]


@pytest.fixture
def ended():
    """Number of a process that has ended."""
    said = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(said.stdout)


@pytest.fixture
def elsewhere(tmp_path):
    """What stands for the processes in a container that has the name of this machine."""
    (tmp_path / "pid").symlink_to("pid:[7]")
    return tmp_path / "pid"


@pytest.mark.usefixtures("driver")
def test_a_container_of_the_same_name_does_not_take_a_driver_for_dead(store, elsewhere, monkeypatch, tmp_path):
    (tmp_path / "locks").write_text("")  # a container does not list the locks of the processes around it
    monkeypatch.setattr(claims, "_LOCKS", tmp_path / "locks")
    assert store.driver_has_ended()
    monkeypatch.setattr(claims, "_PROCESSES", elsewhere)
    assert not store.driver_has_ended()


def test_a_claim_that_cannot_be_read_tells_nothing(store, monkeypatch):
    with store.exclusive():
        pass
    assert store.driver_has_ended()

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert not store.driver_has_ended()


def test_a_second_driver_on_an_object_store_is_told_of_the_first(remote):
    _, store = remote
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC"
    said = rf"first: process {os.getpid()} on \S+, {since}, is at work on this sweep; wait for it"
    for _ in range(2):
        with store.exclusive():
            with pytest.raises(StoreError, match=said), Store.open(store.uri).exclusive():
                pass
            assert not store.driver_has_ended()
        assert Store.open(store.uri).driver_has_ended()


def test_a_silent_driver_on_an_object_store_is_waited_for_and_then_in_nobodys_way(remote, caplog):
    _, store = remote
    claim_of(store)
    began = time.monotonic()
    with store.exclusive():
        assert time.monotonic() - began > 2.0
        assert str(os.getpid()) in json.loads(store.read_bytes(".driver"))["holder"]
    assert f"process 7 on elsewhere, since 2026, has claimed {store.label}: waiting 2 s for a sign" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_damaged_claim_on_an_object_store_is_in_nobodys_way(remote, content):
    _, store = remote
    store.write_bytes(".driver", content)
    assert not store.driver_has_ended()
    with store.exclusive():
        pass


@pytest.mark.parametrize("pid", ["\u00b2", 10**30, -1, None, [7], True])
def test_a_claim_with_an_odd_process_number_tells_nothing(remote, pid):
    _, store = remote
    claim_of(store, machine=claims._machine(), pid=pid)
    assert not store.driver_has_ended()


def test_an_odd_holder_is_told_in_one_short_line(remote, caplog):
    _, store = remote
    claim_of(store, holder="\x1b[2Ja\nb" + "x" * 10_000)
    with store.exclusive():
        pass
    (told,) = [line for line in caplog.messages if "has claimed" in line]
    assert told.startswith("[2Ja bxxx")
    assert len(told) < 400


def test_a_driver_of_this_machine_that_has_ended_is_not_waited_for(remote, ended, elsewhere, monkeypatch, caplog):
    _, store = remote
    assert not store.driver_has_ended()
    claim_of(store)
    assert not store.driver_has_ended()
    claim_of(store, machine=claims._machine(), pid=ended)
    assert store.driver_has_ended()
    with monkeypatch.context() as container:
        container.setattr(claims, "_PROCESSES", elsewhere)
        assert not store.driver_has_ended()
    with store.exclusive():
        assert not store.driver_has_ended()
    assert "waiting" not in caplog.text


def test_of_two_drivers_that_begin_at_once_one_is_refused(remote, monkeypatch):
    _, store = remote
    monkeypatch.setattr(claims, "_SETTLE_S", 1.0)  # on a busy machine, two writes can be further apart
    both = threading.Barrier(2)
    told = []

    def drive():
        both.wait()
        try:
            with Store.open(store.uri).exclusive():
                told.append("at work")
                time.sleep(1.0)
        except StoreError as error:
            told.append(error.what)

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told)[0] == "at work"
    assert "is at work on this sweep" in sorted(told)[1]


def test_an_object_store_that_fails_for_a_while_keeps_the_claim(remote):
    server, store = remote
    with store.exclusive():
        server.answer = 503
        until_refused = server.refused + 2
        while server.refused < until_refused:
            time.sleep(0.05)
        server.answer = 0
        with pytest.raises(StoreError, match="is at work on this sweep"), Store.open(store.uri).exclusive():
            pass


def test_ctrl_c_while_claiming_leaves_no_claim(remote, monkeypatch):
    _, store = remote

    def interrupted(_seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(claims.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.exclusive().__enter__()
    assert store.driver_has_ended()


def test_a_claim_is_kept_without_opening_the_storage_again(remote, monkeypatch):
    _, store = remote

    def unreachable(_uri):
        raise OSError("When resolving region for bucket: curlCode: 6, Could not resolve hostname")

    monkeypatch.setattr(filesystem, "open_filesystem", unreachable)
    with store.exclusive():
        time.sleep(1.0)
        assert beats_of(store) > 1


def test_a_damaged_claim_does_not_end_its_driver(remote):
    _, store = remote
    with store.exclusive():
        store.write_bytes(".driver", b"{")
        time.sleep(1.0)
        assert beats_of(store) > 1


def test_a_driver_whose_sweep_another_has_taken_ends(remote, caplog):
    _, store = remote

    def drive():
        with store.exclusive():
            claim_of(store)
            time.sleep(30.0)

    # A shell's background jobs ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            drive()
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"process 7 on elsewhere, since 2026, has taken {store.label}: this run ends" in caplog.text
    assert json.loads(store.read_bytes(".driver"))["token"] == "x"


def test_a_driver_in_another_thread_ends_too(remote):
    """Users of the library may run a sweep in a thread of their own program, which goes on."""
    _, store = remote
    ended = []

    def drive():
        try:
            with store.exclusive():
                claim_of(store)
                deadline = time.monotonic() + 30.0
                while time.monotonic() < deadline:
                    time.sleep(0.1)
        except KeyboardInterrupt:
            ended.append(time.monotonic() < deadline)

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join(30.0)
    assert ended == [True]
