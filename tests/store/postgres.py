"""A PostgreSQL server of a test's own, from the binaries that Debian's package installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "p4ss-w0rd"
_USER = "postgres"


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextmanager
def postgres() -> Iterator[str]:
    """A server that ends with the block: its URL, with user and password. Skips the test where there is none."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    pytest.importorskip("pg8000")
    # Its socket's path must be short; and as root it refuses to run.
    as_other = ["runuser", "-u", _USER, "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="gansweep-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        password = folder / "password"
        password.write_text(PASSWORD)
        for path in (folder, password):
            if as_other:
                shutil.chown(path, _USER)
        port = free_port()

        def run(program: str, *words: str) -> None:
            subprocess.run(
                [*as_other, binaries / program, "-D", folder / "data", *words], check=True, capture_output=True, cwd="/"
            )

        run("initdb", "-U", "sweeps", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")
        listening = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", listening, "start")
        try:
            yield f"postgresql://sweeps:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
