"""One process at a time drives a sweep, and none that is dead."""

import os
import subprocess
import sys

import pytest

from gansweep.errors import StoreError
from gansweep.store.store import Store

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


def test_an_object_store_has_no_locks(info):
    store = Store.create("memory://runs", "first", info)
    with store.exclusive(), store.exclusive():
        pass
