"""A small phantom cohort for sweeps that really run."""

from pathlib import Path

import pytest

from tests.values import phantom_cohort


@pytest.fixture(scope="session")
def cohort_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 phantom patients, 2 slices each, 16 pixels."""
    return phantom_cohort(tmp_path_factory.mktemp("cohort"))
