"""What a sweep on this machine opens to others: nothing of Ray, which executes what it is sent."""

from __future__ import annotations

import ipaddress
import os
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.search.faults import MARK, Driver

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(900)]

RENDEZVOUS = "ray::RayTrainWorker"
"""Its process group has a store of keys, which torch opens on all addresses. It holds no code."""


def _listening() -> set[tuple[str, str]]:
    """Address and title of each of this test's processes that listens beyond the loopback address."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) != os.environ[MARK]:
                continue
            for connection in process.net_connections("inet"):
                address = ipaddress.ip_address(connection.laddr.ip)
                address = getattr(address, "ipv4_mapped", None) or address
                if connection.status == psutil.CONN_LISTEN and not address.is_loopback:
                    found.add((str(address), process.cmdline()[0].partition(".")[0]))
        except (psutil.Error, IndexError):
            continue
    return found


def test_a_sweep_on_this_machine_listens_only_on_loopback(tmp_path: Path, cohort_path: Path) -> None:
    words = ("--trials=1", "--workers-per-trial=2", "--set=iterations=600")
    driver = Driver(tmp_path, cohort_path, *words, environment={"RAY_ADDRESS": "local"})
    seen: set[tuple[str, str]] = set()
    while driver.process.poll() is None:
        seen |= _listening()
        time.sleep(0.5)
    assert driver.process.returncode == 0, driver.log
    assert {title for _, title in seen} <= {RENDEZVOUS}, seen
