"""A damaged or foreign `confirm.json` is told in one line before anybody quotes it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from gansweep.cli import main
from gansweep.errors import StoreError
from gansweep.search.confirmation_file import RESULT, confirmation
from gansweep.search.confirmed_answer import confirmed
from gansweep.store.store import Store
from gansweep.store.sweep_info import TestOpening
from tests.report.example_sweep import make_info, run_trial
from tests.search.test_answer import NO_EVIDENCE, PAIRS, comparison, result, with_segmenters

if TYPE_CHECKING:
    import pathlib


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opening = TestOpening(opened=datetime(2026, 11, 28, 1, 3, 6, tzinfo=UTC), judged=True)
    info = make_info(test_openings=(opening,))
    store = Store.create(str(tmp_path_factory.mktemp("storage")), "fahr", info)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(2):
        run_trial(store, study)
    return store


def said(store: Store, found: dict[str, Any]) -> str:
    store.write_bytes(RESULT, json.dumps(found).encode())
    with pytest.raises(StoreError) as caught:
        confirmation(store)
    line = str(caught.value)
    assert line.startswith(f"{store.label}/confirm.json: is no result of `gansweep confirm`: ")
    assert line.endswith("; put back a copy of it")
    return line


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"difference": math.nan}, "accuracy.difference = nan: input should be a finite number"),
        ({"low": math.nan}, "accuracy.low = nan"),
        ({"high": math.inf}, "accuracy.high = inf"),
        ({"low": 0.5, "high": -0.5}, "the difference in accuracy is 0.1, its interval 0.5 to -0.5"),
        ({"difference": 0.9}, "the difference in accuracy is 0.9, its interval -0.1 to 0.3"),
        ({"difference": 5.0, "low": 4.0, "high": 6.0}, "the difference in accuracy is 5, more than all patients"),
        ({"detectable": math.nan}, "accuracy.detectable = nan"),
        ({"detectable": math.inf}, "accuracy.detectable = inf"),
        ({"detectable": "x"}, "accuracy.detectable = 'x'"),
        ({"detectable": None}, "accuracy.detectable = None"),
        ({"detectable": -0.1}, "accuracy.detectable = -0.1"),
    ],
)
def test_numbers_that_cannot_be(store: Store, changes: dict[str, Any], what: str) -> None:
    arm = {**comparison(0.1, -0.1, 0.3, 0.4, "no evidence"), **changes}
    assert what in said(store, result({"real + 1 synthetic": arm}))


HELPS = comparison(0.2, 0.1, 0.3, 0.01, "helps")
HARMS = comparison(-0.2, -0.3, -0.1, 0.01, "harms")


@pytest.mark.parametrize(
    ("arm", "what"),
    [
        (HELPS | {"difference": -0.2, "low": -0.3, "high": -0.1}, "is 'helps' with a difference of -0.2"),
        (HARMS | {"difference": 0.2, "low": 0.1, "high": 0.3}, "is 'harms' with a difference of 0.2"),
        (HELPS | {"p": 0.5}, "is 'helps' with p = 0.5"),
        (HELPS | {"p": 0.05}, "is 'helps' with p = 0.05"),
        (HARMS | {"high": 0.1}, "is 'harms' with an interval from -0.3 to 0.1"),
        (HELPS | {"trainings": 2}, "is 'helps' after 2 of at least 3 trainings per arm"),
    ],
)
def test_verdicts_that_cannot_be(store: Store, arm: dict[str, Any], what: str) -> None:
    assert f"the verdict on accuracy {what}" in said(store, result({"real + 1 synthetic": arm}))


def test_a_verdict_that_the_best_rival_forbids(store: Store) -> None:
    found = result({"real + 1 synthetic": HELPS})
    leader = found["leaders"][0]
    leader["best_rival"] = {"accuracy": "real + mixup"}
    equal = comparison(0.0, -0.1, 0.1, 1.0, "no evidence")
    leader["over_rival"] = {"real + 1 synthetic": {"accuracy": equal}}
    assert "accuracy of 'real + 1 synthetic' is 'helps', over the best rival 'no evidence'" in said(store, found)


def test_verdicts_that_correction_and_rivals_take_back_are_read(store: Store) -> None:
    corrected = comparison(0.2, 0.01, 0.39, 0.12, "no evidence")
    found = result({"real + 1 synthetic": HELPS | {"verdict": "no evidence"}, "real + 0.5 synthetic": corrected})
    leader = found["leaders"][0]
    leader["over_rival"] = {"real + 1 synthetic": {"accuracy": comparison(0.0, -0.1, 0.1, 1.0, "no evidence")}}
    leader["comparisons"]["synthetic only"] = {"accuracy": HARMS}
    leader["arms"]["synthetic only"] = {}
    store.write_bytes(RESULT, json.dumps(found).encode())
    assert confirmation(store) == found


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"config": []}, "leaders.0.config = []"),
        ({"config": {"family": 5}}, "leaders.0.config.family = 5: input should be a valid string"),
        ({"best_rival": []}, "leaders.0.best_rival = []"),
        ({"trial_id": "7777"}, "the store has no trial '7777'"),
        ({"trial_id": "0001+7777"}, "the store has no trial '7777'"),
        ({"curves": {"real": {"fpr": [0.0]}}}, "missing key 'leaders.0.curves.real.confusion'"),
        ({"curves": {"real": {"confusion": [[1.0, 2.0]]}}}, "the confusion matrix of 'real' is not one of 2 classes"),
    ],
)
def test_keys_of_a_leader_that_cannot_be(store: Store, changes: dict[str, Any], what: str) -> None:
    found = result(NO_EVIDENCE)
    found["leaders"][0] |= changes
    assert what in said(store, found)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"arms": {"real": {"accuracy": [0.5, 0.6, 0.7]}}}, "the accuracy of 'real' is 0.5, its interval 0.6 to 0.7"),
        ({"arms": {"real": {"accuracy": [1.5, 1.4, 1.6]}}}, "the accuracy of 'real' is 1.5, no share"),
        ({"arms": {"real": {"accuracy": [0.5, math.nan, 0.6]}}}, "arms.real.accuracy.1 = nan"),
        (
            {"rivals": {"real + MixUp": {"accuracy": comparison(0.9, -0.1, 0.3, 0.4, "no evidence")}}},
            "the difference in accuracy is 0.9, its interval -0.1 to 0.3",
        ),
    ],
)
def test_values_of_arms_and_rivals_that_cannot_be(store: Store, changes: dict[str, Any], what: str) -> None:
    found = result(NO_EVIDENCE)
    found["leaders"][0] |= changes
    assert what in said(store, found)


ARM = "real + 1 synthetic"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"patients": 0}, "segmentation.patients = 0"),
        ({"images": 7}, "7 images with a lesion are of 8 patients"),
        ({"patients": 9}, "segmenters are compared on 8 of 9 patients with a lesion"),
        (
            {"arms": {"real": {"dice": [0.7, 0.6, 0.8]}}},
            "segmenters of 'real + 0.25 synthetic' are compared and have no",
        ),
        ({"comparisons": {"real": {"dice": PAIRS[ARM] | {"low": 0.5}}}}, "in dice is 0.012, its interval 0.5 to 0.035"),
        (
            {"comparisons": {"real": {"dice": PAIRS[ARM] | {"difference": 2.0, "high": 3.0}}}},
            "the difference in dice is 2, more than all patients",
        ),
        ({"comparisons": {"real": {"dice": PAIRS[ARM] | {"verdict": "perhaps"}}}}, "dice.verdict = 'perhaps'"),
        (
            {"arms": {name: {"dice": [1.2, 1.1, 1.3]} for name in ("real", *PAIRS)}},
            "the dice of 'real' is 1.2, no share",
        ),
        (
            {"arms": {name: {"dice": [0.9, 0.1, 0.2]} for name in ("real", *PAIRS)}},
            "'real' is 0.9, its interval 0.1 to",
        ),
        ({"absent": []}, "segmentation.absent = []"),
    ],
)
def test_segmenters_that_cannot_be(store: Store, changes: dict[str, Any], what: str) -> None:
    assert what in said(store, with_segmenters(**changes))


def test_segmenters_and_a_reason_for_none(store: Store) -> None:
    found = with_segmenters()
    found["leaders"][0]["no_segmentation"] = "scoring.segmenter_steps is 0"
    assert "there are results of segmenters, and a reason why there are none" in said(store, found)
    store.write_bytes(RESULT, json.dumps(with_segmenters()).encode())
    assert confirmation(store) == with_segmenters()


@pytest.mark.parametrize(
    ("opened", "what"),
    [
        ("x", "opened = 'x': input should be a valid datetime"),
        ("2020-01-01T00:00:00+00:00", "the test patients were not opened at 2020-01-01 00:00:00+00:00"),
    ],
)
def test_an_opening_that_the_store_does_not_know(store: Store, opened: str, what: str) -> None:
    assert what in said(store, result(NO_EVIDENCE, opened=opened))


def test_results_of_earlier_versions_are_read(store: Store) -> None:
    found = result(NO_EVIDENCE)
    del found["opened"]
    del found["leaders"][0]["config"]
    for arm in found["leaders"][0]["comparisons"].values():
        arm["accuracy"] = {key: value for key, value in arm["accuracy"].items() if key != "detectable"}
    store.write_bytes(RESULT, json.dumps(found).encode())
    assert confirmation(store) == found


def test_a_change_of_nothing_needs_no_number_of_patients() -> None:
    text = confirmed(result({"real + 1 synthetic": comparison(1e-320, -0.1, 0.1, 1.0, "no evidence")})).text
    assert "adding them changed accuracy by +0.0 points" in text
    assert "would take" not in text


def test_the_commands_show_the_rest(store: Store, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = result(NO_EVIDENCE)
    found["leaders"][0]["curves"] = {"real": {"fpr": [0.0]}}
    store.write_bytes(RESULT, json.dumps(found).encode())
    for words in (["status"], ["leaderboard"], ["report", f"--out={tmp_path / 'r.html'}"]):
        assert main([words[0], store.uri, *words[1:]]) == 2
        out, err = capfd.readouterr()
        assert out
        errors = [line for line in err.splitlines() if line.startswith("error:")]
        assert len(errors) == 1
        assert f"{store.label}/confirm.json: is no result of `gansweep confirm`: missing key" in errors[0]


def test_a_damaged_row_of_the_leader_does_not_make_its_result_another_stores(store: Store) -> None:
    found = result(NO_EVIDENCE)
    trial = found["leaders"][0]["trial_id"]
    store.write_bytes(RESULT, json.dumps(found).encode())
    row = store.read_bytes(f"trials/trial-{trial}.0.parquet")
    try:
        store.write_bytes(f"trials/_trial-{trial}.0.parquet.damaged", row)
        store.delete(f"trials/trial-{trial}.0.parquet")
        assert confirmation(store) is not None
    finally:
        store.write_bytes(f"trials/trial-{trial}.0.parquet", row)
        store.delete(f"trials/_trial-{trial}.0.parquet.damaged")
