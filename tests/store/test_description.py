"""A damaged `sweep.json` is told in one line, with its cure."""

import json

import pytest

from gansweep.errors import StoreError
from gansweep.store.store import Store


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', "\udcff", "[" * 100_000])
def test_a_damaged_description_is_named_with_its_cure(store, text):
    for name in ("sweep.json", "sweep.copy.json"):
        (store.local / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert str(told.value).startswith(f"{store.local}/sweep.json: ")
    assert "put back a copy of it" in str(told.value)


def test_a_description_of_a_later_version_is_named(store):
    path = store.local / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"strategy": "new"}))
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert str(told.value) == (
        f"{path}: has 'strategy', which this gansweep does not know; use the gansweep that wrote it, or a later one"
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objectives": []}, "objectives = []: tuple should have at least 1 item"),
        ({"experiment": {"reports": "many"}}, "reports = 'many' is no number above zero"),
        ({"experiment": {"reports": 0}}, "reports = 0 is no number above zero"),
        ({"experiment": {"scheduler": None}}, "scheduler = None is no dictionary"),
        ({"experiment": {"overrides": [1]}}, "overrides = [1] is no dictionary"),
        ({"experiment": {"constraints": 5}}, "constraints = 5 is no list"),
        ({"experiment": {"objectives": True}}, "objectives = True is no list"),
        ({"experiment": {"constraints": [{"score": "fid"}]}}, "at_most or at_least"),
        ({"experiment": {"prune": [{"score": "imbalance"}]}}, "at_most or at_least"),
    ],
)
def test_a_description_that_no_reader_can_use_is_named(store, changes, says):
    path = store.local / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert says in str(told.value)
    assert str(told.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("key", "value"), [("trials", -1), ("workers_per_trial", 0), ("gpus_per_worker", -0.5)])
def test_numbers_that_no_sweep_has_are_named(store, key, value):
    path = store.local / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StoreError, match=rf"sweep\.json: {key} = {value}: .*put back a copy of it"):
        Store.open(store.uri)


def test_a_description_without_scoring_is_named(store):
    with pytest.raises(StoreError, match=r"sweep\.json: missing key 'experiment.scoring'; put back"):
        _ = store.scoring
