"""A feature extractor that only a store names is loaded only if its record vouches for it."""

from pathlib import Path

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.errors import ConfigError, StoreError
from gansweep.search.spaces import load_space
from gansweep.search.sweep import _record_run
from gansweep.search.sweep_file import sweep_request
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


def test_a_sweep_by_a_record_executes_no_other(store: Store, tmp_path: Path) -> None:
    options = sweep_options(settings={f"scoring.{name}": str(tmp_path / f"{name}.pt") for name in FILES})
    store.update_info(options=options.recorded())
    record = f"{store.local}/sweep.json"
    assert sweep_request(record, {"name": "again"}, where="sweep").experiment.scoring.features
    file = tmp_path / "features.pt"
    file.write_bytes(b"another")
    with pytest.raises(ConfigError, match=r"features\.pt: is not executed: it is not the file that the sweep used"):
        sweep_request(record, {"name": "again"}, where="sweep")
    named = sweep_request(record, {"name": "again", "set": {"scoring.features": str(file)}}, where="sweep")
    assert named.experiment.scoring.features == str(file), "the user names it"
    store.update_info(feature_files={})
    with pytest.raises(ConfigError, match="did not record its hash; if you trust it, name it yourself with --set"):
        sweep_request(record, {"name": "again"}, where="sweep")


def test_a_sweep_does_not_continue_with_another(store: Store, tmp_path: Path) -> None:
    storage = str(tmp_path / "runs")
    changed = {**store.info.feature_files, "features": "0" * 64}
    wanted = store.info.model_copy(update={"feature_files": changed})
    with pytest.raises(StoreError, match=r"the file of scoring\.features has changed since this sweep began"):
        Store.create(storage, "s", wanted, exist_ok=True)
    store.update_info(feature_files={})
    assert Store.create(storage, "s", wanted, exist_ok=True), "earlier versions recorded none"


def test_a_continued_sweep_records_what_earlier_versions_did_not(store: Store) -> None:
    digests = store.info.feature_files
    store.update_info(feature_files={})
    with pytest.raises(ConfigError, match="did not record its hash; continue the sweep with --resume"):
        _ = store.scoring
    _record_run(store, sweep_options(), 1, digests)
    assert Store.open(store.uri).scoring.features
