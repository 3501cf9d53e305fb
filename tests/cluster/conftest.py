"""A cohort for jobs."""

from pathlib import Path

import pytest

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom


@pytest.fixture(scope="session")
def cohort_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 phantom patients, 2 slices each, 16 pixels."""
    folder = tmp_path_factory.mktemp("cohort")
    write_phantom(folder / "scans", patients=20, slices=2, size=64, seed=0)
    ingest(folder / "scans", folder / "cohort", IngestSettings(size=16, labels=folder / "scans" / "labels.csv"))
    return folder / "cohort"
