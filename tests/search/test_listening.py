"""What a sweep on this machine opens to others: nothing, for Ray executes what it is sent."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.search.faults import MARK, Driver

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(900)]


# A network of its own, where this machine's name is an address that others would reach.
TWO_INTERFACES = """
set -e
ip link set lo up
ip link add outside type veth peer name theirs
ip addr add 192.0.2.5/24 dev outside
ip link set outside up
ip link set theirs up
ip route add default via 192.0.2.1
exec "$@"
"""

Listening = set[tuple[str, str]]


def _listening() -> tuple[Listening, Listening]:
    """Address and title of this test's processes that listen on the loopback address; and of those beyond it."""
    here: Listening = set()
    beyond: Listening = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) != os.environ[MARK]:
                continue
            for connection in process.net_connections("inet"):
                address = ipaddress.ip_address(connection.laddr.ip)
                address = getattr(address, "ipv4_mapped", None) or address
                if connection.status == psutil.CONN_LISTEN:
                    seen = here if address.is_loopback else beyond
                    seen.add((str(address), process.cmdline()[0].partition(".")[0]))
        except (psutil.Error, IndexError):
            continue
    return here, beyond


def test_a_sweep_on_this_machine_listens_only_on_loopback(tmp_path: Path, cohort_path: Path) -> None:
    words = ("--trials=1", "--workers-per-trial=2", "--set=iterations=600")
    other = tmp_path / "other"
    other.mkdir()
    driver = Driver(tmp_path, cohort_path, *words, environment={"RAY_ADDRESS": "local"})
    here: Listening = set()
    beyond: Listening = set()
    joined = None
    while driver.process.poll() is None:
        now_here, now_beyond = _listening()
        here |= now_here
        beyond |= now_beyond
        if joined is None and "report 1/6" in driver.log:
            joined = Driver(other, cohort_path, "--trials=1", "--dry-run", environment={"RAY_ADDRESS": "auto"})
        time.sleep(0.5)
    assert driver.process.returncode == 0, driver.log
    assert not beyond
    assert "ray::RayTrainWorker" in {title for _, title in here}, "the workers were not looked at"
    assert joined is not None
    assert joined.ends(60) == 0, joined.log


def test_nor_with_a_second_interface_that_leads_outside() -> None:
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no rights to make a network namespace")
    test = f"{__file__}::test_a_sweep_on_this_machine_listens_only_on_loopback"
    pytest_there = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-m", "acceptance", test]
    command = ["unshare", "--net", "sh", "-c", TWO_INTERFACES, "sh", *pytest_there]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
