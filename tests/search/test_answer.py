"""The answer sentence: its words, its numbers, and that it is the same wherever it is shown."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from scipy import stats

from gansweep.cli import main
from gansweep.config import Objective
from gansweep.report.dashboard import prepare_dashboard
from gansweep.report.html import conclusions, report_html
from gansweep.report.status import as_document, sweep_status
from gansweep.scoring.statistics.proportions import cases_needed, detectable, difference_interval
from gansweep.search.answer import answer, of_training
from gansweep.search.confirmation_file import RESULT
from gansweep.search.confirmed_answer import confirmed
from gansweep.store.store import Store
from tests.report.example_sweep import make_info, run_trial

if TYPE_CHECKING:
    from pathlib import Path


def comparison(difference: float, low: float, high: float, p: float, verdict: str, **changes: Any) -> dict[str, Any]:
    values = {"metric": "accuracy", "difference": difference, "low": low, "high": high, "p": p, "verdict": verdict}
    return {**values, "patients": 8, "trainings": 3, "detectable": 0.39717535980798097, **changes}


def result(arms: dict[str, dict[str, Any]], **changes: Any) -> dict[str, Any]:
    leader = {
        "trial_id": "0001",
        "config": {"family": "dcgan"},
        "arms": {arm: {} for arm in arms},
        "comparisons": {arm: {"accuracy": values} for arm, values in arms.items()},
        "absent": {},
    }
    return {"opened": "2026-11-28T01:03:06+00:00", "reason": "", "leaders": [leader], **changes}


NO_EVIDENCE = {
    "real + 0.25 synthetic": comparison(0.020833333333333332, -0.268738, 0.310405, 1.0, "no evidence"),
    "real + 0.5 synthetic": comparison(0.08333333333333333, -0.209722, 0.376389, 1.0, "no evidence"),
    "real + 1 synthetic": comparison(0.125, -0.16522451249406855, 0.41522451249406855, 1.0, "no evidence"),
    "synthetic only": comparison(-0.0625, -0.439835, 0.314835, 1.0, "no evidence"),
}
"""A real run on eight test patients."""

SENTENCE = (
    "No evidence that synthetic images help: adding them changed accuracy by +12.5 points (95 % interval -16.5 to "
    "+41.5) on 8 test patients with 3 trainings per arm (trial 0001, dcgan, real + 1 synthetic, the best of 4 arms; "
    "p = 1.000, corrected for 4 arms); to show a change of this size would take about 120 test patients."
)


def test_a_rival_that_gives_as_much_is_named() -> None:
    """More than real images alone, but MixUp costs nothing and gives it too."""
    arm = "real + 1 synthetic"
    made = result({arm: comparison(0.1, 0.04, 0.16, 0.001, "no evidence")})
    made["leaders"][0] |= {
        "best_rival": {"accuracy": "real + MixUp"},
        "over_rival": {arm: {"accuracy": comparison(0.012, -0.03, 0.054, 0.58, "no evidence")}},
    }
    found = confirmed(made)
    assert found.state == "no evidence"
    told = "that is more than real images alone give, but against the best rival, real + MixUp, it is +1.2 points"
    assert told in found.text
    assert "would take" not in found.text, "the change itself was shown"
    made["leaders"][0]["comparisons"][arm]["accuracy"]["verdict"] = "helps"
    helping = confirmed(made).text
    assert helping.startswith("Synthetic images help: adding them changed accuracy by +10.0 points")
    assert "; against the best rival, real + MixUp, it is +1.2 points (-3.0 to +5.4)" in helping


def test_no_evidence_names_the_best_arm_and_what_would_show_it() -> None:
    found = confirmed(result(NO_EVIDENCE))
    assert found.text == SENTENCE
    assert (found.state, found.trial_id) == ("no evidence", "0001")


def test_the_patients_that_would_show_it_grow_with_the_square_and_with_the_arms() -> None:
    # 8 patients would have shown 39.7 points of a single claim; Holm's first step for four claims is at 1.25 %.
    quantiles = [stats.norm.ppf(1 - 0.05 / 2 / claims) + stats.norm.ppf(0.8) for claims in (1, 4)]
    assert 110 < 8 * (0.39717535980798097 / 0.125 * quantiles[1] / quantiles[0]) ** 2 < 120
    alone = confirmed(result({"real + 1 synthetic": NO_EVIDENCE["real + 1 synthetic"]})).text
    assert "about 81 test patients" in alone  # 8 * (0.39717 / 0.125)^2 = 80.8
    assert "the best of" not in alone
    assert "corrected for 1 arm)" in alone
    tiny = comparison(0.001, -0.3, 0.3, 1.0, "no evidence")
    assert "would take more than 10000 test patients" in confirmed(result({"real + 1 synthetic": tiny})).text


def test_an_arm_that_helps_is_told_before_larger_changes_without_evidence() -> None:
    helps = comparison(0.05, 0.02, 0.08, 0.0004, "helps", patients=240, trainings=5)
    found = confirmed(result({**NO_EVIDENCE, "real + 0.25 synthetic": helps}))
    assert found.text == (
        "Synthetic images help: adding them changed accuracy by +5.0 points (95 % interval +2.0 to +8.0) on 240 test"
        " patients with 5 trainings per arm (trial 0001, dcgan, real + 0.25 synthetic; p < 0.001, corrected for 4"
        " arms); of 4 arms 1 helps, 3 without evidence."
    )


def test_that_images_alone_do_worse_is_not_the_answer() -> None:
    harms = comparison(-0.3, -0.4, -0.2, 0.01, "harms")
    found = confirmed(result({**NO_EVIDENCE, "synthetic only": harms}))
    assert found.text.startswith("No evidence that synthetic images help: adding them changed accuracy by +12.5 points")
    assert "of 4 arms 1 harms, 3 without evidence" in found.text


def test_harm_is_told() -> None:
    harms = comparison(-0.1, -0.15, -0.05, 0.012, "harms")
    found = confirmed(result({**NO_EVIDENCE, "real + 1 synthetic": harms}))
    assert found.text.startswith("Synthetic images harm: adding them changed accuracy by -10.0 points")
    assert "p = 0.012" in found.text
    assert found.state == "harms"


def test_a_further_opening_is_told() -> None:
    again = confirmed(result(NO_EVIDENCE, reason="a reviewer asked")).text
    assert again.endswith("; the test patients had been opened before.")


PAIRS = {
    "real + 0.25 synthetic": comparison(0.004, -0.02, 0.028, 1.0, "no evidence", metric="dice", detectable=0.04),
    "real + 1 synthetic": comparison(0.012, -0.011, 0.035, 0.61, "no evidence", metric="dice", detectable=0.03),
    "synthetic only": comparison(-0.2, -0.3, -0.1, 0.01, "harms", metric="dice", detectable=0.1),
}
"""Comparisons of segmenters on eight test patients."""


def with_segmenters(compared: dict[str, dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A result of detectors and segmenters."""
    compared = PAIRS if compared is None else compared
    made = result(NO_EVIDENCE)
    made["leaders"][0]["segmentation"] = {
        "images": 20,
        "patients": 8,
        "trainings": 3,
        "arms": {name: {"dice": [0.7, 0.6, 0.8]} for name in ("real", *compared)},
        "comparisons": {name: {"dice": values} for name, values in compared.items()},
        "absent": {name: {} for name in ("real", *compared)},
        **changes,
    }
    return made


def test_segmenters_have_a_sentence_of_their_own_after_the_first() -> None:
    found = confirmed(with_segmenters())
    # (0.03 / 0.012)^2 * 8 patients = 50 for a single claim; Holm's first step for three is at 1.67 %.
    quantiles = [stats.norm.ppf(1 - 0.05 / 2 / claims) + stats.norm.ppf(0.8) for claims in (1, 3)]
    assert 66 < 50 * (quantiles[1] / quantiles[0]) ** 2 < 67
    assert found.text == (
        f"{SENTENCE} No evidence that synthetic pairs of image and mask help segmentation: adding them changed dice by "
        "+1.2 points (95 % interval -1.1 to +3.5) on 8 test patients with a lesion, with 3 trainings per arm (trial "
        "0001, dcgan, real + 1 synthetic, the best of 3 arms; p = 0.610, corrected for 3 arms); of 3 arms 1 harms, 2 "
        "without evidence; to show a change of this size would take about 67 test patients."
    )
    assert (found.state, found.trial_id) == ("no evidence", "0001")


def test_segmenters_that_help_and_a_rival_that_gives_as_much() -> None:
    helps = comparison(0.05, 0.02, 0.08, 0.0004, "helps", metric="dice")
    rival = comparison(0.03, 0.01, 0.05, 0.02, "helps", metric="dice")
    arm = "real + 1 synthetic"
    told = confirmed(
        with_segmenters({arm: helps}, best_rival={"dice": "real + CutMix"}, over_rival={arm: {"dice": rival}})
    )
    assert told.state == "no evidence", "the state is about detectors"
    assert told.text.endswith(
        " Synthetic pairs of image and mask help segmentation: adding them changed dice by +5.0 points (95 % interval "
        "+2.0 to +8.0) on 8 test patients with a lesion, with 3 trainings per arm (trial 0001, dcgan, real + 1 "
        "synthetic; p < 0.001, corrected for 1 arm); against the best rival, real + CutMix, it is +3.0 points "
        "(+1.0 to +5.0)."
    )


def test_segmenters_that_could_not_be_compared() -> None:
    reason = "real: its segmenters give masks that are not finite"
    text = confirmed(with_segmenters({}, absent={"synthetic only": {"dice": reason}})).text
    assert text == (
        f"{SENTENCE} Not known whether synthetic pairs of image and mask help segmentation: no arm could be compared "
        f"({reason})."
    )


def test_claims_of_every_leader_are_counted() -> None:
    two = result(NO_EVIDENCE)
    two["leaders"].append({**result(NO_EVIDENCE)["leaders"][0], "trial_id": "0002"})
    assert "the best of 8 arms; p = 1.000, corrected for 8 arms" in confirmed(two).text


def test_without_accuracy_another_measure_answers_and_without_any_the_reason() -> None:
    auroc = {"real + 1 synthetic": {"auroc": comparison(0.1, -0.2, 0.4, 1.0, "no evidence", metric="auroc")}}
    only = result({})
    only["leaders"][0]["comparisons"] = auroc
    assert "changed auroc by +10.0 points" in confirmed(only).text
    none = result({})
    none["leaders"][0]["absent"] = {"real + 1 synthetic": {"accuracy": "real: fewer than two test patients"}}
    found = confirmed(none)
    assert found.text == (
        "Not known whether synthetic images help: no arm could be compared (real: fewer than two test patients)."
    )
    assert found.state == "not known"


@pytest.mark.parametrize(
    ("one", "other", "n", "low", "high"),
    # Newcombe 1998, table II, method 10.
    [(56 / 70, 48 / 80, 0, 0.0524, 0.3339), (9 / 10, 3 / 10, 10, 0.1705, 0.8090), (10 / 10, 0 / 10, 10, 0.6075, 1.0)],
)
def test_intervals_of_a_difference(one: float, other: float, n: int, low: float, high: float) -> None:
    if n:
        assert difference_interval(one, other, n) == pytest.approx((low, high), abs=6e-5)


def test_the_cases_needed_are_the_textbooks() -> None:
    # 0.8 against 0.7, 5 % two-sided, 80 %: (1.960 + 0.842)^2 (0.16 + 0.21) / 0.01 = 290.4 of each.
    assert cases_needed(0.8, 0.7, known_from=10**9) == 291
    assert detectable(0.8, 0.7, 291, known_from=10**9) == pytest.approx(0.1, abs=2e-4)
    # At Bonferroni's 1 %: (2.576 + 0.842)^2 * 37 = 432.1.
    assert cases_needed(0.8, 0.7, known_from=10**9, claims=5) == 433
    assert cases_needed(0.7, 0.7, known_from=8) is None
    # None of 8 wrong is no proof that none ever is: 9 / 10 and 8 / 10 instead of 1 and 7 / 8.
    assert cases_needed(1.0, 0.875, known_from=8) == math.ceil(7.8489 * (0.09 + 0.16) / 0.125**2)


def test_the_sweeps_own_aim_is_the_measure() -> None:
    arm = {"accuracy": comparison(0.2, 0.1, 0.3, 0.01, "helps"), "auroc": comparison(0.1, 0.05, 0.2, 0.02, "helps")}
    found = result({})
    found["leaders"][0]["comparisons"] = {"real + 1 synthetic": arm}
    assert "changed accuracy by +20.0 points" in confirmed(found).text
    auroc = Objective(name="auroc", direction="maximize")
    assert "changed auroc by +10.0 points" in confirmed(found, [auroc]).text


def test_a_production_training_answers_for_itself() -> None:
    scores = {"accuracy": 0.8, "accuracy_difference": 0.1}
    text = of_training(scores, {"train": 24, "val": 8, "test": 8}).text
    assert "on 8 validation patients adding them changed accuracy by +10.0 points" in text
    assert "1 training by `gansweep train`" in text
    assert "measured no detector" in of_training({"fid": 2.0}, {}).text


@pytest.fixture
def confirmed_sweep(tmp_path: Path) -> Store:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = Store.create(str(tmp_path), "fahr", make_info())
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(3):
        run_trial(store, study)
    store.write_bytes(RESULT, json.dumps(result(NO_EVIDENCE)).encode())
    return store


def test_every_place_has_the_same_words(
    confirmed_sweep: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    store = confirmed_sweep
    assert answer(store).text == SENTENCE
    for verb in ("status", "leaderboard"):
        assert main([verb, store.uri]) == 0
        assert capfd.readouterr().out.splitlines()[0] == SENTENCE
    assert as_document(sweep_status(store))["answer"] == SENTENCE
    assert conclusions(store)["answer"] == SENTENCE
    page = report_html(store)
    body = page.partition("<body>")[2]
    assert body.index(SENTENCE) < body.index("<h1>")
    prepare_dashboard(store)
    study = store.load_study()
    assert study.user_attrs["answer"] == SENTENCE
    assert note_of(study) == SENTENCE


def note_of(study: optuna.Study) -> str:
    """The study's note as Optuna's dashboard reads it."""
    from optuna_dashboard._note import get_note_from_system_attrs

    attrs = study._storage.get_study_system_attrs(study._study_id)
    return get_note_from_system_attrs(attrs, None)["body"]


def test_a_damaged_result_is_told_and_costs_no_more(confirmed_sweep: Store) -> None:
    whole = json.loads(confirmed_sweep.read_bytes(RESULT))
    leader = whole["leaders"][0]
    claim = next(iter(leader["comparisons"].values()))["accuracy"]
    swapped = json.dumps(whole).replace(json.dumps(claim["verdict"]), '"perhaps"')
    broken = [{**whole, "leaders": [{key: leader[key] for key in leader if key != lost}]} for lost in leader]
    kept = {"config", "trainings", "curves", "rivals", "best_rival", "over_rival"}  # not in every version
    contents = [b"", b"{", b"[]", b"{}", b"null", b"[" * 100_000, bytes(range(256)), swapped.encode()]
    contents += [json.dumps(one).encode() for one, lost in zip(broken, leader, strict=True) if lost not in kept]
    for content in contents:
        confirmed_sweep.write_bytes(RESULT, content)
        assert (
            answer(confirmed_sweep).text == "Not known: confirm.json, the result of `gansweep confirm`, cannot be read."
        )


def test_a_trial_that_breaks_a_constraint_is_no_answer(tmp_path: Path) -> None:
    def so_far_with(bound: float) -> str:
        constraints = [{"score": "fid", "at_most": bound}]
        info = make_info(name=f"below-{bound:g}", experiment=make_info().experiment | {"constraints": constraints})
        store = Store.create(str(tmp_path), info.name, info)
        study = store.create_study(optuna.samplers.RandomSampler(seed=0))
        for _ in range(3):
            run_trial(store, study)
        return answer(store).text

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    unbounded = so_far_with(1e6)
    assert "adding them changed accuracy by" in unbounded
    assert so_far_with(1.0) == (
        "Not known yet whether synthetic images help: 3 of 14 trials ended with a generator, "
        "and none of them keeps the constraints (fid<=1)."
    )
