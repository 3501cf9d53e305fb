"""Verdicts: how often they are wrong without a difference, how often right with one, what counts as evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.false_alarms import Design, crossed
from gansweep.errors import ConfigError
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.masks import MaskScores
from gansweep.scoring.statistics.elementary import holm
from gansweep.scoring.statistics.estimates import estimate
from gansweep.scoring.statistics.verdicts import (
    UndefinedError,
    compare,
    compare_arms,
    interval,
    wilson,
)

RARE = Design(5, 100, luck=0.1, reaction=1.5)


def arms(
    rng: np.random.Generator, *, patients: int = 40, trainings: int = 5, luck: float = 0.4, effect: float = 0.0
) -> tuple[Predictions, Predictions]:
    return crossed(rng, Design(patients // 2, patients - patients // 2, trainings, luck), effect)


def said(positive: list[float], labels: list[int], patients: str, trainings: int = 3) -> Predictions:
    """What equal trainings say of images of one-letter patients."""
    p = np.tile(positive, (trainings, 1))
    return Predictions(np.stack([1 - p, p], -1), np.array(labels), list(patients), 1)


@pytest.mark.parametrize(("metric", "trainings"), [("accuracy", 3), ("accuracy", 5), ("auroc", 5)])
def test_false_alarms_are_rare(metric: str, trainings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 null comparisons at 5 %: 15 alarms expected, more than 25 have a chance of one in a hundred."""
    monkeypatch.setattr("gansweep.scoring.statistics.estimates.REPLICATES", 400)
    rng = np.random.default_rng(0)
    verdicts = [compare(*arms(rng, trainings=trainings), metric, seed=i).verdict for i in range(300)]
    assert 1 <= 300 - verdicts.count("no evidence") <= 25


@pytest.mark.parametrize("metric", ["sensitivity", "auroc"])
def test_false_alarms_are_rare_in_a_rare_disease(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five positives' degrees of freedom, not those of all patients: these gave 12 % alarms."""
    monkeypatch.setattr("gansweep.scoring.statistics.estimates.REPLICATES", 200)
    rng = np.random.default_rng(1)
    verdicts = [compare(*crossed(rng, RARE), metric, seed=i).verdict for i in range(200)]
    assert 200 - verdicts.count("no evidence") <= 18


def test_two_patients_prove_nothing() -> None:
    labels, patients = [1, 1, 0, 0], "abcd"
    found = compare(
        said([0.4, 0.4, 0.1, 0.1], labels, patients), said([0.6, 0.6, 0.1, 0.1], labels, patients), "sensitivity"
    )
    assert (found.difference, found.verdict) == (1.0, "no evidence")
    assert (found.low, found.high) == (-1.0, 1.0)


def test_equal_arms_of_few_patients_leave_room_for_a_difference() -> None:
    """Agresti & Min 2005: six of six concordant pairs have the variance 1 / (6 + 2)²; here two halves of it."""
    perfect = said([0.9] * 6 + [0.1] * 6, [1] * 6 + [0] * 6, "abcdefghijkl")
    found = compare(perfect, perfect)
    assert found.high == pytest.approx(stats.t(10).ppf(0.975) * np.sqrt(2) * 0.5 / 8)
    assert found.detectable > 0.2


def test_no_replicate_is_without_a_class() -> None:
    """Every patient has a positive image, two of them others too: specificity and AUROC rest on these two."""
    rng = np.random.default_rng(0)
    patients = "abcdefghijklab"
    labels = np.array([1] * 12 + [0] * 2)
    p, q = rng.random((2, 3, 14))
    base, arm = (Predictions(np.stack([1 - x, x], -1), labels, list(patients), 1) for x in (p, q))
    for metric in ("accuracy", "sensitivity", "specificity", "auroc"):
        found = compare(base, arm, metric)
        assert np.isfinite([found.difference, found.low, found.high, found.p, found.detectable]).all()
        assert np.isfinite(interval(base, metric)).all()


@pytest.mark.parametrize("positives", [0, 1])
def test_a_metric_that_is_not_defined_has_no_verdict(positives: int) -> None:
    labels = [1] * positives + [0] * (8 - positives)
    base = said(list(np.linspace(0.1, 0.9, 8)), labels, "abcdefgh")
    for metric in ("sensitivity", "auroc"):
        with pytest.raises(ConfigError, match=f"fewer than two test patients in a class, too few for {metric}"):
            compare(base, base, metric)
        with pytest.raises(ConfigError, match="fewer than two test patients"):
            interval(base, metric)


@pytest.mark.parametrize("metric", ["accuracy", "sensitivity", "specificity", "auroc"])
def test_probabilities_that_are_none_have_no_verdict(metric: str) -> None:
    base = said(list(np.linspace(0.1, 0.9, 8)), [0, 1] * 4, "abcdefgh")
    none = said([np.nan] * 8, [0, 1] * 4, "abcdefgh")
    with pytest.raises(UndefinedError, match="its detectors give probabilities that are not finite"):
        compare(base, none, metric)
    with pytest.raises(UndefinedError, match="the base's detectors give probabilities that are not finite"):
        compare(none, base, metric)
    with pytest.raises(UndefinedError):
        interval(none, metric)


def test_a_real_gain_helps_and_a_real_loss_harms() -> None:
    rng = np.random.default_rng(0)
    gains = [compare(*arms(rng, patients=120, luck=0.1, effect=1.0)) for _ in range(20)]
    losses = [compare(*arms(rng, patients=120, luck=0.1, effect=-1.0)) for _ in range(20)]
    assert [c.verdict for c in gains].count("helps") >= 18
    assert [c.verdict for c in losses].count("harms") >= 18
    assert all(c.low < c.difference < c.high for c in gains + losses)


def test_the_detectable_difference_is_found_four_times_out_of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.scoring.statistics.estimates.REPLICATES", 400)
    rng = np.random.default_rng(1)
    found = [compare(*arms(rng, patients=80, luck=0.1, effect=0.42), seed=i) for i in range(100)]
    truth, claimed = np.mean([c.difference for c in found]), np.mean([c.detectable for c in found])
    assert truth == pytest.approx(claimed, rel=0.15)  # a true difference of about the size that was claimed
    assert 0.65 < np.mean([c.verdict == "helps" for c in found]) < 0.92


def test_equal_arms_give_no_evidence_and_no_warning() -> None:
    base, _ = arms(np.random.default_rng(0))
    same = compare(base, base)
    assert (same.difference, same.p, same.verdict) == (0.0, 1.0, "no evidence")


def test_more_images_of_the_same_patients_are_no_more_evidence() -> None:
    base, arm = arms(np.random.default_rng(2), effect=0.4)
    copied = [
        replace(
            p,
            probabilities=p.probabilities.repeat(10, 1),
            labels=p.labels.repeat(10),
            patients=np.repeat(p.patients, 10),
        )
        for p in (base, arm)
    ]
    once, ten_times = compare(base, arm), compare(*copied)
    assert ten_times.difference == pytest.approx(once.difference)
    assert ten_times.high - ten_times.low == pytest.approx(once.high - once.low, rel=1e-6)


def test_luck_between_trainings_widens_the_interval() -> None:
    calm, lucky = (compare(*arms(np.random.default_rng(3), patients=200, luck=luck)) for luck in (0.0, 2.0))
    assert lucky.high - lucky.low > 2 * (calm.high - calm.low)


def test_holm_by_hand() -> None:
    """Holm 1979: sorted p times 4, 3, 2, 1, never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_many_arms_share_one_level() -> None:
    """One of twenty null arms alone reaches p < 0.05 by chance most of the time; together they rarely do."""
    rng = np.random.default_rng(4)
    base, _ = arms(rng)
    others = {str(i): arms(rng)[1] for i in range(3)}
    together = compare_arms({name: (base, arm) for name, arm in others.items()})
    for name, arm in others.items():
        assert together[name].p >= compare(base, arm).p
        assert together[name].p == pytest.approx(holm([compare(base, a).p for a in others.values()])[int(name)])


def test_wilson_covers_at_the_edges() -> None:
    """20 of 20: the interval is not a point. Wilson's bounds are the roots of (p - q)² = z² q (1 - q) / n."""
    low, high = wilson(20, 20)
    assert (low, high) == (pytest.approx(20 / (20 + stats.norm.ppf(0.975) ** 2)), 1.0)
    low, high = wilson(12, 40)
    for bound in (low, high):
        assert (0.3 - bound) ** 2 == pytest.approx(stats.norm.ppf(0.975) ** 2 * bound * (1 - bound) / 40)


def test_the_interval_of_one_arm() -> None:
    base, _ = arms(np.random.default_rng(6), patients=60)
    value, low, high = interval(base, "accuracy")
    assert value == pytest.approx((base.probabilities.argmax(-1) == base.labels).mean())
    assert low < value < high


@pytest.mark.parametrize("metric", ["accuracy", "sensitivity", "auroc"])
@pytest.mark.parametrize("design", [Design(60, 60, trainings=3), Design(10, 10, trainings=3, luck=0.0, skill=3.0)])
def test_the_interval_of_one_arm_covers(design: Design, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of unlike luck, and detectors that are nearly always right: these were held in 33 and 47 %."""
    monkeypatch.setattr("gansweep.scoring.statistics.estimates.REPLICATES", 200)
    rng, inside = np.random.default_rng(0), 0
    for i in range(100):
        _, low, high = interval(crossed(rng, design)[0], metric, seed=i)
        inside += low <= design.truth[metric] <= high
    assert inside >= 88


def test_the_interval_of_a_perfect_detector_is_no_point() -> None:
    perfect = said([0.9] * 6 + [0.1] * 6, [1] * 6 + [0] * 6, "abcdefghijkl", trainings=1)
    for metric, n in (("accuracy", 12), ("sensitivity", 6), ("auroc", 12)):
        value, low, high = interval(perfect, metric)
        assert (value, high) == (1.0, 1.0)
        assert low == pytest.approx(n / (n + stats.t(n - 1).ppf(0.975) ** 2))  # Wilson's, of n right out of n


def test_what_cannot_be_judged_is_refused() -> None:
    base, arm = arms(np.random.default_rng(8))
    with pytest.raises(ConfigError, match="needs at least 3"):
        compare(*(replace(p, probabilities=p.probabilities[:2]) for p in (base, arm)))
    with pytest.raises(ConfigError, match="same test images"):
        compare(base, replace(arm, labels=1 - arm.labels))
    with pytest.raises(ConfigError, match="fewer than two test patients"):
        compare(*(replace(p, patients=["one"] * len(p.labels)) for p in (base, arm)))


def test_a_verdict_reads_as_a_sentence() -> None:
    text = str(compare(*arms(np.random.default_rng(9), effect=1.0, luck=0.1)))
    assert text.startswith("helps: accuracy +")
    assert "with 40 patients and 5 trainings per arm" in text


def dice_of(values: list[list[float]], patients: str) -> MaskScores:
    """Dice of each training, for images of one-letter patients."""
    return MaskScores({"dice": np.array(values)}, list(patients))


def test_scores_of_masks_are_means_over_images_with_the_variance_over_patients() -> None:
    base = dice_of([[0.50, 0.60, 0.40, 0.70, 0.55, 0.65]] * 3, "abcdef")
    arm = dice_of([[0.52, 0.65, 0.41, 0.74, 0.55, 0.70]] * 3, "abcdef")
    changes = np.array([0.02, 0.05, 0.01, 0.04, 0.0, 0.05])
    found = compare(base, arm, "dice")
    # Equal trainings add no variance, so this is the paired t-test. The bootstrap's variance is accurate to a few %.
    expected = stats.ttest_rel(arm.values["dice"][0], base.values["dice"][0])
    low, high = expected.confidence_interval()
    assert found.difference == pytest.approx(changes.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low) / 2)
    assert found.p == pytest.approx(expected.pvalue, rel=0.25)
    assert (found.verdict, found.patients, found.trainings) == ("helps", 6, 3)
    spread = estimate("dice", arm, base)
    assert spread.variance == pytest.approx(changes.var(ddof=1) / 6, rel=0.15)
    assert spread.freedom == pytest.approx(5)
    # Images of one patient are no further patients: their mean is weighted by images.
    twice = dice_of([[0.2, 0.4, 0.9]] * 3, "aab")
    assert estimate("dice", twice).value == pytest.approx(0.5)
    assert estimate("dice", twice).patients == 2


def test_the_spread_of_trainings_widens_the_interval_of_a_score_of_masks() -> None:
    values = np.array([0.5, 0.6, 0.4, 0.7, 0.55, 0.65])
    calm, lucky = (dice_of([list(values + luck * k) for k in (-1, 0, 1)], "abcdef") for luck in (0.0, 0.1))
    widths = [interval(arm, "dice")[2] - interval(arm, "dice")[1] for arm in (calm, lucky)]
    assert interval(calm, "dice")[0] == pytest.approx(interval(lucky, "dice")[0])
    assert widths[1] > 1.5 * widths[0]
    # Not as wide as if every patient's score were 0 or 1.
    assert widths[0] == pytest.approx(2 * stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6), rel=0.1)


def test_scores_of_masks_that_prove_nothing_or_are_not_defined() -> None:
    base = dice_of([[0.0, 0.0, 0.0]] * 3, "abc")
    found = compare(base, base, "dice")
    assert (found.verdict, found.difference, found.p) == ("no evidence", 0.0, 1.0)
    assert found.low < 0 < found.high
    for broken, why in (
        (dice_of([[0.5, 0.6]] * 3, "aa"), "fewer than two test patients with a lesion, too few for dice"),
        (dice_of([[0.5, np.nan]] * 3, "ab"), "its segmenters give masks that are not finite"),
    ):
        with pytest.raises(UndefinedError, match=why):
            interval(broken, "dice")
    for other in (dice_of([[0.5, 0.6, 0.7]] * 3, "abd"), said([0.9, 0.1, 0.2], [1, 0, 0], "abc")):
        with pytest.raises(ConfigError, match="not about the same test images"):
            compare(base, other, "dice")


def test_false_alarms_of_scores_of_masks_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three patients, three trainings: nothing but chance, and no lower bound of the variance."""
    monkeypatch.setattr("gansweep.scoring.statistics.estimates.REPLICATES", 200)
    rng = np.random.default_rng(2)
    alarms = 0
    for seed in range(200):
        mean = rng.normal(size=(1, 3)) + rng.normal(scale=0.5, size=(3, 3))
        base, arm = (1 / (1 + np.exp(-mean - rng.normal(scale=0.3, size=(3, 3)))) for _ in range(2))
        alarms += (
            compare(*(dice_of(v.tolist(), "abc") for v in (base, arm)), "dice", seed=seed).verdict != "no evidence"
        )
    assert alarms <= 18


def test_claims_about_masks_are_corrected_together() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, (3, 12))
    arms = {name: base + gain + rng.normal(scale=0.03, size=(3, 12)) for name, gain in (("a", 0.03), ("b", 0.02))}
    claims = {
        name: (dice_of(base.tolist(), "abcdefghijkl"), dice_of(v.tolist(), "abcdefghijkl")) for name, v in arms.items()
    }
    alone = [compare(*pair, "dice").p for pair in claims.values()]
    together = compare_arms(claims, "dice")
    assert [found.p for found in together.values()] == pytest.approx(holm(alone))
    assert together["a"].p == pytest.approx(2 * alone[0])
