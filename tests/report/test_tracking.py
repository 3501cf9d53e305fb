"""Which score goes with the gain: against scipy, with an interval that covers, and silent where it must be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gansweep.report.rows import LeaderboardRow
from gansweep.report.tracking import tracking


def row(
    number: int, scores: dict[str, float], features: str = "encoder:a", status: str = "completed"
) -> LeaderboardRow:
    name = f"{number:04d}"
    return LeaderboardRow(name, status, number + 1, 0, scores, features, "{}", "", None, 9, 1.0, 0.0, name)


def drawn(n: int, rng: np.random.Generator, slope: float) -> list[LeaderboardRow]:
    fid, noise = rng.normal(size=(2, n))
    return [
        row(
            number,
            {
                "fid": 50 + 10 * fid[number],
                "fid_floor": 5.0,
                "lesion_fidelity": rng.uniform(),
                "accuracy": 0.8,
                "accuracy_real_only": 0.8,
                "accuracy_difference": slope * fid[number] + noise[number],
                "auroc": 0.8,
                "brier": rng.uniform(),
                "log_loss": rng.uniform(),
                "auroc_difference": rng.normal(),
            },
        )
        for number in range(n)
    ]


def test_the_correlation_is_spearmans_and_only_realism_is_asked() -> None:
    rows = drawn(24, np.random.default_rng(0), -1.5)
    found = {item.metric: item for item in tracking(rows)}
    assert set(found) == {"fid", "lesion_fidelity"}
    fids, gains = zip(*((r.scores["fid"], r.scores["accuracy_difference"]) for r in rows), strict=True)
    fid = found["fid"]
    assert fid.rho == pytest.approx(stats.spearmanr(fids, gains).statistic)
    assert (fid.gain, fid.n) == ("accuracy_difference", 24)
    assert None not in (fid.low, fid.high, fid.rho)
    assert -1 <= fid.low < fid.rho < fid.high < 0, "planted: a low distance goes with a gain"
    assert next(iter(found)) == "fid", "the strongest first"


def test_the_interval_of_unrelated_scores_has_zero_in_it_nineteen_times_of_twenty() -> None:
    rng = np.random.default_rng(1)
    hits = sum(item.low <= 0 <= item.high for _ in range(60) for item in tracking(drawn(20, rng, 0.0))[:1])
    assert hits >= 50  # the stronger of two scores is looked at, so somewhat fewer than 95 %


def test_few_trials_other_features_and_equal_values_say_why_not() -> None:
    rng = np.random.default_rng(2)
    assert {item.reason for item in tracking(drawn(9, rng, -1.0))} == {"fewer than 10 configurations"}
    others = [row(100 + i, {"fid": 1.0, "accuracy_difference": 0.0}, "other:b") for i in range(5)]
    assert {item.n for item in tracking([*drawn(12, rng, -1.0), *others])} == {12}
    flat = [row(i, {"kid": float(i), "dice_difference": 0.0}) for i in range(12)]
    assert [(item.metric, item.rho, item.reason) for item in tracking(flat)] == [("kid", None, "all values are equal")]
    assert tracking([]) == []


def test_repeats_count_once() -> None:
    rows = drawn(12, np.random.default_rng(3), -1.0)
    twice = [row(0, r.scores) for r in rows[:1]] * 5 + rows[1:]
    assert {item.n for item in tracking(twice)} == {12}
