"""A growing store stays fast to read: compacted by its driver, in the background."""

import struct

import pandas as pd
import pytest

from gansweep.config import TrialConfig
from gansweep.store.compaction import Upkeep
from gansweep.store.store import Store
from tests.store.damages import warnings_of


def test_a_growing_store_is_compacted_now_and_then(store, trial, report):
    with Upkeep(store, 0) as upkeep:
        for number in range(120):
            store.write_trial(trial(number))
            store.write_report(report(number, 0))
            upkeep.trial_ended()
            if number in (49, 99):
                upkeep._thread.join()
                assert len(pd.read_parquet(store.local / "trials.parquet")) == number + 1
    again = Store.open(store.uri)
    assert len(again.trials()) == len(again.reports()) == 120
    assert len(again._trials._from_compacted(again._trials._entries())[2]) == 20, "only the newest are read one by one"


def test_the_work_becomes_rarer_as_the_store_grows(store, trial):
    store.write_trial(trial(0))
    with Upkeep(store, 10_000) as upkeep:
        for _ in range(99):
            upkeep.trial_ended()
        assert upkeep._thread is None
        for _ in range(2):
            upkeep.trial_ended()
        assert upkeep._thread is not None


def test_a_store_that_cannot_be_written_just_then_costs_nothing(store, caplog):
    caplog.set_level("INFO", "gansweep")
    upkeep = Upkeep(store, 0)
    for name in ("sweep.json", "sweep.copy.json"):
        (store.local / name).rename(store.local / f"away.{name}")
    with upkeep:
        for _ in range(50):
            upkeep.trial_ended()
    assert "the store was not compacted: " in caplog.text


@pytest.mark.parametrize("compacted", [False, True])
def test_trials_without_single_settings_have_all_else(store, trial, compacted):
    for number in range(3):
        store.write_trial(trial(number))
    if compacted:
        store.compact()
        store.write_trial(trial(3))
    every = store.trials()
    few = store.trials(settings=False)
    assert list(few) == [name for name in every if not name.startswith("config.")]
    assert len(few.columns) < len(every.columns)
    pd.testing.assert_frame_equal(few, every[list(few)])


def test_a_row_file_with_a_damaged_setting_is_left_out_by_all(store, trial, caplog):
    """The leaderboard would rank a trial that export leaves out, and not say so."""
    for number in range(3):
        store.write_trial(trial(number, config=TrialConfig(lr_d=0.0123)))
    path = store.local / "trials" / "trial-0001.0.parquet"
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<d", 0.0123))] ^= 1
    path.write_bytes(content)
    for settings in (True, False):
        assert Store.open(store.uri).trials(settings=settings)["trial_id"].tolist() == ["0000", "0002"]
    assert len(warnings_of(caplog)) == 2
