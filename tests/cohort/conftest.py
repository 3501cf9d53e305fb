from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from tests.cohort.scans import write_picture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small phantom patients, two slices each. Do not change: copy."""
    folder = tmp_path_factory.mktemp("phantom") / "source"
    write_phantom(folder, patients=12, slices=2, size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def cohort_path(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's cohort, 32 pixels. Do not change: copy."""
    out = tmp_path_factory.mktemp("cohort") / "cohort"
    ingest(phantom, out, IngestSettings(size=32))
    return out


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve pictures, and no labels.csv yet."""
    for number in range(12):
        write_picture(tmp_path / "source" / f"{number}.png", number)
    return tmp_path / "source"
