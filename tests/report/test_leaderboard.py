import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import optuna
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from gansweep.cli import main
from gansweep.errors import ConfigError, StoreError
from gansweep.report.leaderboard import as_document, as_table, leaderboard, searched_keys, short_names
from gansweep.scoring.metrics.formatting import score_text
from gansweep.store.store import Store
from tests.report.example_sweep import make_info, run_trial


def test_leaders_first_and_failures_last(finished):
    rows = leaderboard(finished)
    assert [row.rank for row in rows] == list(range(1, 15))
    statuses = [row.status for row in rows]
    assert statuses == sorted(statuses, key=["completed", "stopped", "diverged"].index)
    completed = [row for row in rows if row.status == "completed"]
    for leader in (row for row in completed if row.front == 0):
        assert not any(
            other.scores["fid"] < leader.scores["fid"] and other.scores["accuracy"] > leader.scores["accuracy"]
            for other in completed
        )
    diverged = rows[-1]
    assert (diverged.scores, diverged.front, diverged.reason) == ({}, -1, "the critic's loss is not finite")
    assert rows[0].config == finished.config(rows[0].trial_id)
    assert all(row.seconds == 40.0 for row in rows)


def test_the_document_is_one_list_of_flat_trials(finished):
    document = json.loads(json.dumps(as_document(leaderboard(finished)), allow_nan=False))
    first = document[0]
    assert list(first)[:3] == ["trial_id", "status", "rank"]
    assert {"fid", "fid_features", "accuracy", "accuracy_real_only", "accuracy_difference", "config"} <= first.keys()
    assert first["fid_features"] == "cohort:0123456789ab"
    assert document[-1]["status"] == "diverged"
    assert (document[-1]["fid"], document[-1]["accuracy"]) == (None, None)
    assert first["config"]["penalty"]["lambda"] == 10.0
    assert first["stopped_at"] is None
    assert next(item for item in document if item["status"] == "stopped")["stopped_at"] == 200


def test_the_table_shows_objectives_differences_and_what_was_searched(finished):
    console = Console(width=200, record=True, file=io.StringIO())
    rows = leaderboard(finished)
    console.print(as_table(rows, finished.info, top=3))
    text = console.export_text()
    assert all(name in text for name in ("fid", "accuracy", "accuracy - real only", "lr_d", "n_critic", "width"))
    assert "pp" in text
    assert "cohort:0123456789ab" in text
    assert "8 validation patients; test set unopened" in " ".join(text.split())
    assert sum(f" {row.trial_id} " in text for row in rows) == 3
    assert "The first 3 of 14 configurations; --top shows more." in text


def test_the_command_shows_the_first_hundred_unless_asked_for_more(finished, monkeypatch, capfd):
    monkeypatch.setattr("gansweep.cli.results._SHOWN", 5)
    names = [row.trial_id for row in leaderboard(finished)]

    def shown(*words):
        assert main(["leaderboard", finished.uri, *words]) == 0
        return capfd.readouterr().out

    text = shown()
    assert [bool(re.search(rf"\b{name}\b", text)) for name in names] == [True] * 5 + [False] * 9, text
    assert "The first 5 of 14 configurations; --top shows more." in text
    text = shown("--top=14")
    assert all(re.search(rf"\b{name}\b", text) for name in names)
    assert "--top" not in text
    assert [item["trial_id"] for item in json.loads(shown("--json"))] == names
    assert [item["trial_id"] for item in json.loads(shown("--json", "--top=7"))] == names[:7]


def test_a_store_without_trials_has_an_empty_leaderboard(empty):
    assert leaderboard(empty) == []
    as_table([], empty.info)


def test_searched_keys_are_those_that_differ(finished):
    assert searched_keys(leaderboard(finished)) == ["lr_d", "n_critic", "architecture.width", "attention"]


def test_names_that_end_alike_stay_whole():
    keys = ["loss.kind", "penalty.norm", "loss.norm", "architecture.width"]
    assert list(short_names(keys).values()) == ["loss", "penalty.norm", "loss.norm", "width"]


@pytest.mark.parametrize(
    ("name", "value", "signed", "text"),
    [
        ("accuracy", 0.853, False, "85.3 %"),
        ("accuracy_difference", -0.0312, True, "-3.1 pp"),
        ("fid", 123.4, False, "123"),
        ("fid", 4.2345, False, "4.23"),
        ("kid", 0.01234, False, "0.0123"),
        ("fid", None, False, "-"),
        ("fid", float("nan"), False, "-"),
    ],
)
def test_scores_as_people_read_them(name, value, signed, text):
    assert score_text(name, value, signed=signed) == text


def test_status_and_leaderboard_load_no_torch() -> None:
    """It takes seconds, and nothing that they show needs it."""
    code = (
        "import sys; import gansweep.report.leaderboard, gansweep.report.status, gansweep.search.answer; "
        "import gansweep.scoring.statistics.proportions; print('torch' in sys.modules, 'ray' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False False\n"


def test_a_trial_that_breaks_a_constraint_is_marked(tmp_path):
    constraints = [{"score": "fid", "at_most": 60.0}]
    info = make_info(experiment=make_info().experiment | {"constraints": constraints})
    store = Store.create(str(tmp_path), "bounded", info)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(14):
        run_trial(store, study)
    rows = leaderboard(store)
    beyond = [row for row in rows if row.scores.get("fid", 0.0) > 60.0]
    assert 0 < len(beyond) < 14
    assert [row.infeasible for row in beyond] == [f"fid = {row.scores['fid']:.6g} > 60" for row in beyond]
    # They come behind every trial with scores that keeps the bound, stopped ones too, and before those without scores.
    places = [(bool(row.infeasible), row.status) for row in rows]
    order = [(False, "completed"), (False, "stopped"), (True, "completed"), (True, "stopped"), (False, "diverged")]
    assert places == sorted(places, key=order.index)
    assert all(row.front == -1 for row in beyond)
    document = as_document(rows)
    assert [item["infeasible"] for item in document] == [row.infeasible for row in rows]
    assert document[0]["peak_memory_gib"] is None  # a CPU has no GPU memory
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(as_table(rows, store.info, columns=["trial", "status", "infeasible"]))
    text = " ".join(console.export_text().split())
    assert text.count(" infeasible fid = ") == len(beyond)
    assert "Infeasible: breaks a constraint (fid<=60)." in text


def test_a_difference_may_be_called_by_the_name_of_its_score(finished):
    sweep = finished
    rows = leaderboard(sweep)
    by_name = as_table(rows, sweep.info, columns=["trial", "accuracy_difference"])
    by_heading = as_table(rows, sweep.info, columns=["trial", "accuracy - real only"])
    assert by_name.columns == by_heading.columns
    with pytest.raises(ConfigError, match="unknown column 'dice_difference'"):
        as_table(rows, sweep.info, columns=["dice_difference"])
    assert as_table(rows[:1], sweep.info).title.endswith(": 1 trial, best first")


def test_a_best_value_in_hindsight_is_no_score(tmp_path):
    store = Store.create(str(tmp_path), "hindsight", make_info())
    run_trial(store, store.create_study(optuna.samplers.RandomSampler(seed=0)))
    row = store.row("0000", 0)
    store.write_trial(replace(row, best=row.scores))
    for settings in (True, False):
        (shown,) = leaderboard(store, store.trials(settings=settings))
        assert shown.scores == row.scores


def test_a_configuration_of_another_version_is_told_in_one_line(tmp_path, monkeypatch, capfd):
    """The compacted copy may have been made by the version that had it."""
    monkeypatch.chdir(tmp_path)
    store = Store.create(str(tmp_path), "other", make_info())
    run_trial(store, store.create_study(optuna.samplers.RandomSampler(seed=0)))
    path = store.local / "trials" / "trial-0000.0.parquet"
    rows = pq.ParquetFile(path).read().to_pylist()
    rows[0]["config_json"] = json.dumps(json.loads(rows[0]["config_json"]) | {"gone": 1})
    store._trials.put("0000.0", rows)
    with monkeypatch.context() as earlier:
        earlier.setattr("gansweep.store.faults._config_fault", lambda _: "")
        Store.open(store.uri).compact()
    said = "the configuration of trial 0000 is not one of this version: gone = 1: "
    for command in ("leaderboard", "report"):
        assert main([command, store.uri]) == 2
        assert said in capfd.readouterr().err
    assert main(["status", store.uri]) == 0
    with pytest.raises(StoreError, match=said):
        Store.open(store.uri).latest_rows()
