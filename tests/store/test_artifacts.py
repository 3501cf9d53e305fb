import io

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna_dashboard.artifact._backend import list_trial_artifacts

from gansweep.store.artifacts import StoreArtifacts, attach_sheet, attach_sheets, sheet_path


def _shown(study, number):
    """What the dashboard lists beside a trial."""
    storage = study._storage
    trial = storage.get_all_trials(study._study_id)[number]
    return list_trial_artifacts(storage.get_study_system_attrs(study._study_id), trial.system_attrs, trial)


def test_a_running_trials_sheet_is_an_optuna_artifact(store):
    study = store.create_study()
    trial = study.ask()
    assert not attach_sheet(store, study, 0), "no sheet yet"
    store.write_bytes(sheet_path("0000"), b"png")
    assert attach_sheet(store, study, 0)
    assert attach_sheet(store, study, 0)
    study.tell(0, [1.0, 0.5])
    attach_sheets(store)
    metas = get_all_artifact_meta(study.trials[0], storage=study._storage)
    assert [(meta.artifact_id, meta.mimetype) for meta in metas] == [("0000", "image/png")]
    assert [item["filename"] for item in _shown(study, trial.number)] == ["0000.png"]


def test_sheets_of_finished_trials_are_shown_once(store):
    study = store.create_study()
    for number in range(3):
        study.add_trial(optuna.create_trial(values=[1.0, 2.0]))
        if number != 1:
            store.write_bytes(sheet_path(f"{number:04d}"), b"png")
    assert attach_sheets(store) == 2
    assert attach_sheets(store) == 2
    assert [[item["artifact_id"] for item in _shown(study, number)] for number in range(3)] == [["0000"], [], ["0002"]]


def test_artifacts_are_the_stores_own_files(store):
    artifacts = StoreArtifacts(store)
    artifacts.write("0003", io.BytesIO(b"png"))
    assert store.read_bytes("artifacts/0003.png") == b"png"
    assert artifacts.open_reader("0003").read() == b"png"
    artifacts.remove("0003")
    with pytest.raises(ArtifactNotFound):
        artifacts.open_reader("0003")
