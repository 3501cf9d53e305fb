"""What a driver has freed does not stay in its memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_CODE = """
import contextlib, sys
import psutil
from gansweep.search.heap import returning_large_blocks

bytearray(30 * 2**20)  # glibc keeps blocks of this size from now on
with returning_large_blocks() if sys.argv[1] == "returning" else contextlib.nullcontext():
    large, small = [], []
    for _ in range(200):
        large.append(bytearray(2**20))
        small.append(bytearray(1000))
    before = psutil.Process().memory_info().rss
    large.clear()
    print((before - psutil.Process().memory_info().rss) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_large_blocks_between_small_ones_are_returned() -> None:
    def returned(how: str) -> int:
        command = [sys.executable, "-c", _CODE, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert returned("returning") > 180
    assert returned("by default") < 100
