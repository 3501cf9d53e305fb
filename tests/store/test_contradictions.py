"""A `sweep.json` that contradicts itself, and places where no store can be, are told in one line."""

import json
import re
from datetime import timedelta

import pytest

from gansweep.errors import ConfigError, StoreError
from gansweep.store.store import Store

FID = {"name": "fid", "direction": "minimize"}
ACCURACY = {"name": "accuracy", "direction": "maximize"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objectives": [FID, FID]}, "'fid' is given twice"),
        ({"experiment": {"objectives": [FID]}}, "experiment.objectives in the same file differ"),
        ({"experiment": {"objectives": [ACCURACY, FID]}}, "experiment.objectives in the same file differ"),
        ({"experiment": {"objectives": [{**FID, "direction": "maximize"}, ACCURACY]}}, "in the same file differ"),
    ],
)
def test_contradictory_objectives(store, changes, says):
    path = store.local / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(StoreError, match=rf"^{re.escape(str(path))}: objectives = .*{says}") as caught:
        Store.open(store.uri)
    assert "\n" not in str(caught.value)


def test_equal_objectives_are_no_contradiction(store):
    path = store.local / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "experiment": {"objectives": [FID, ACCURACY]}}))
    assert [objective.name for objective in Store.open(store.uri).info.objectives] == ["fid", "accuracy"]


@pytest.mark.parametrize("key", ["patients", "images"])
@pytest.mark.parametrize(
    ("number", "says"),
    [(-4, "-4: input should be greater than or equal to 0"), (10**400, f"1{'0' * 199}: input should be less than")],
)
def test_an_impossible_number_of_patients(store, key, number, says):
    path = store.local / "sweep.json"
    values = json.loads(path.read_text())
    values["cohort"][key] = {"val": number}
    path.write_text(json.dumps(values))
    with pytest.raises(StoreError, match=rf"cohort\.{key}\.val = {says}"):
        Store.open(store.uri)


def test_no_store_begins_in_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    for storage in ("file", "file/below"):
        with pytest.raises(StoreError, match=r"file: cannot write: it is a file, and a folder belongs here; choose"):
            Store.begun(str(tmp_path / storage), "first")
    assert Store.begun(str(tmp_path / "new" / "below"), "first") is None


def test_a_name_that_no_folder_can_have(tmp_path):
    with pytest.raises(ConfigError, match="--name: a name of 300 characters is too long for a folder; shorten it"):
        Store.begun(str(tmp_path), "x" * 300)


def test_a_clock_that_is_set_back_makes_no_negative_time(trial):
    row = trial(0)
    assert row.finished("failed", ended=row.started - timedelta(seconds=5)).seconds == 0.0
