"""A feature extractor that only a store names is loaded only if its record vouches for it."""

from pathlib import Path

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.errors import ConfigError
from gansweep.search.spaces import load_space
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from tests.values import sweep_options

FILES = ("features", "detector_features")


@pytest.fixture
def store(cohort_path: Path, tmp_path: Path) -> Store:
    for name in FILES:
        (tmp_path / f"{name}.pt").write_bytes(name.encode())
    settings = {f"scoring.{name}": str(tmp_path / f"{name}.pt") for name in FILES}
    experiment = load_space("smoke").with_settings(settings)
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(), space="smoke")
    return Store.create(str(tmp_path / "runs"), "s", info)


def test_the_files_of_the_sweep_are_used(store: Store, tmp_path: Path) -> None:
    assert set(store.info.feature_files) == set(FILES)
    assert Store.open(store.uri).scoring.features == str(tmp_path / "features.pt")


@pytest.mark.parametrize("name", FILES)
def test_others_in_their_place_are_not(store: Store, tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.pt"
    file.write_bytes(b"another")
    with pytest.raises(ConfigError) as told:
        _ = store.scoring
    assert str(told.value) == (
        f"scoring.{name} = {file}: is not executed: it is not the file that the sweep used; "
        "put back the one that it used"
    )
    file.write_bytes(name.encode())
    assert store.scoring
    store.update_info(feature_files={})
    with pytest.raises(ConfigError, match="is not executed"):
        _ = store.scoring
