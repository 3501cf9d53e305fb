"""What `sweep` and `submit` say in the end, with the search and the cluster left out."""

import shlex
from datetime import UTC, datetime

import pytest

from gansweep.cli import main
from gansweep.experiment import Objective, TrialConfig
from gansweep.store.schema import CohortReference, SweepInfo, TrialRow
from gansweep.store.store import Store


@pytest.fixture
def store(tmp_path):
    info = SweepInfo(
        name="s",
        experiment={"name": "smoke"},
        space="smoke",
        cohort=CohortReference(path="/data/cohort", content_hash="ab" * 32, classes=("control", "fahr")),
        objectives=(Objective(name="fid", direction="minimize"),),
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return Store.create(str(tmp_path / "my runs"), "s", info)


@pytest.fixture
def swept(store, monkeypatch):
    """Runs `sweep`, whose search leaves trials that ended like these."""

    def run(*statuses):
        def search(*_args, **_options):
            for number, status in enumerate(statuses):
                store.write_trial(TrialRow(f"{number:04d}", 0, status, TrialConfig(), reason="out of device memory"))
            return store

        monkeypatch.setattr("gansweep.search.sweep.sweep", search)
        return main(["sweep", "smoke", "--cohort=c", f"--storage={store.local.parent}", "--name=s", "--trials=3"])

    return run


def test_a_sweep_without_a_usable_trial_says_why_and_exits_with_one(swept, capfd):
    assert swept("failed", "failed", "diverged") == 1
    assert capfd.readouterr().err == ("no trial ended with a generator; most often failed: out of device memory\n")


def test_one_usable_trial_is_a_success_and_the_next_command_can_be_pasted(swept, store, capfd):
    assert swept("failed", "stopped") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert shlex.split(out.partition("next: ")[2]) == ["gansweep", "leaderboard", str(store.local)]
