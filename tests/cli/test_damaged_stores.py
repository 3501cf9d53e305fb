"""What is read of a damaged store: the rest is shown, what is missing is named, and the exit status is 2."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import optuna
import pytest

from gansweep.cli import main
from gansweep.store.store import Store
from gansweep.store.sweep_info import TestOpening
from tests.report.example_sweep import make_info, run_trial


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = Store.create(str(tmp_path_factory.mktemp("storage")), "fahr", make_info(trials=6))
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(6):
        run_trial(store, study)
    store.compact()
    return store.local


@pytest.fixture
def store(example, tmp_path):
    return shutil.copytree(example, tmp_path / "fahr", dirs_exist_ok=True)


def run(capfd, *words):
    status = main([str(word) for word in words])
    shown = capfd.readouterr()
    return status, shown.out, [line for line in shown.err.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("table", ["trials", "reports"])
def test_a_damaged_file_hides_no_other_and_is_told_by_the_exit_status(store, capfd, table, tmp_path):
    (store / table / "trial-0002.0.parquet").write_bytes(b"PAR1")
    cure = "put back a copy, or continue the sweep with --resume"
    error = f"error: {store}: left out 1 damaged file: {table}/trial-0002.0.parquet; {cure}"
    trials = 5 if table == "trials" else 6

    status, out, told = run(capfd, "status", store, "--json")
    assert (status, told) == (2, [error])
    assert sum(json.loads(out)["counts"].values()) == trials

    page = tmp_path / "report.html"
    status, out, told = run(capfd, "report", store, "--out", page)
    assert (status, told) == (2, [error])
    assert page.stat().st_size > 100_000

    # The leaderboard shows no report, and is whole without one.
    status, out, told = run(capfd, "leaderboard", store, "--json")
    assert (status, told) == ((2, [error]) if table == "trials" else (0, []))
    assert len(json.loads(out)) == trials


@pytest.mark.parametrize("derived", ["trials/schema.parquet", "reports/schema.parquet", "trials.parquet"])
@pytest.mark.parametrize("verb", ["status", "leaderboard"])
def test_what_is_derived_is_built_again_and_nothing_is_missing(store, capfd, derived, verb):
    (store / derived).write_bytes(b"garbage" * 40)
    status, out, told = run(capfd, verb, store, "--json")
    assert (status, told) == (0, [])
    found = json.loads(out)
    assert (len(found) if verb == "leaderboard" else sum(found["counts"].values())) == 6


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"leaders": [{"trial_id": "0001"}]}', bytes(range(256))])
@pytest.mark.parametrize("verb", ["status", "leaderboard"])
def test_a_damaged_result_of_confirm_is_told_after_the_rest(store, capfd, content, verb):
    (store / "confirm.json").write_bytes(content)
    status, out, told = run(capfd, verb, store)
    assert status == 2
    assert len(told) == 1
    assert told[0].startswith(f"error: {store}/confirm.json: ")
    assert told[0].endswith("; put back a copy of it")
    assert "Not known: confirm.json, the result of `gansweep confirm`, cannot be read." in out
    assert "6" in out


@pytest.mark.parametrize("verb", ["status", "leaderboard"])
def test_a_result_of_confirm_that_is_gone_is_told(store, capfd, verb):
    opened = TestOpening(opened=datetime(2026, 1, 2, tzinfo=UTC), judged=True)
    Store.open(str(store)).update_info(test_openings=(opened,))
    status, out, told = run(capfd, verb, store)
    missing = f"error: {store}/confirm.json: is missing, although `gansweep confirm` wrote it; put back a copy of it"
    assert (status, told) == (2, [missing])
    assert "Not known: confirm.json, the result of `gansweep confirm`, cannot be read." in out
