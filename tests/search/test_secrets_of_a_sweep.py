"""A whole sweep on S3 with the key in its URI: no log, file or command line shows it, not even of Ray."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.search.faults import RAYS, Driver, processes
from tests.store.failing import flaky_s3, objects_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

HIDDEN = ("AKIAKEYOFATEST", "s3cret0fAT3st")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's session. Its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="gs-"))
    yield folder
    shutil.rmtree(folder)


def _titles() -> list[str]:
    found = []
    for process in processes(RAYS):
        with suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def test_a_sweep_shows_its_key_nowhere(
    cohort_path: Path, tmp_path: Path, ray_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with flaky_s3(monkeypatch) as (server, storage):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        (tmp_path / "storage.uri").write_text(storage.replace("s3://", f"s3://{':'.join(HIDDEN)}@"))
        driver = Driver(tmp_path, cohort_path, "--trials=1", storage=f"@{tmp_path / 'storage.uri'}")
        driver.says(r"report 1/6")
        titles = _titles()
        assert driver.ends() == 0, driver.log
        shown = {
            name: repr(found["Metadata"]).encode() + found["Body"].read() for name, found in objects_of(server).items()
        }
    assert "runs/s/sweep.json" in shown
    assert any("RayTrainWorker" in title for title in titles)
    files = [path for folder in (ray_folder, tmp_path / "cache") for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "gcs_server.out" for path in files)
    shown |= {str(path): path.read_bytes() for path in files}
    shown |= {f"title {title[:40]}": title.encode() for title in titles}
    shown["log"] = driver.log.encode()
    assert not [name for name, content in shown.items() for hidden in HIDDEN if hidden.encode() in content]
