"""What the benchmark of false alarms compares."""

from __future__ import annotations

from benchmarks.false_alarms import DESIGNS, JUDGED, alarms, simulated


def test_null_comparisons_include_a_rival_and_the_losses() -> None:
    found = alarms(comparisons=1, trainings=3)
    assert set(found) == {"arm", "rival", "arm over rival"}
    assert {"accuracy", "auroc", "log_loss", "brier"} <= set(found["arm"])
    assert set(found["rival"]) == set(found["arm over rival"]) == set(found["arm"]) - {"log_loss", "brier"}
    assert all(count in (0, 1) for by_metric in found.values() for count in by_metric.values())


def test_simulated_comparisons_include_the_losses() -> None:
    found = simulated(2, DESIGNS[0])
    assert set(found) == set(JUDGED)
    assert {"log_loss", "brier"} <= set(found)
