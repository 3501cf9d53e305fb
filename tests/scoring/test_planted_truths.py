"""Generators whose worth is known beforehand, through the scores and verdicts that users get."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.false_alarms import alarms
from benchmarks.planted_truths import AUGMENTED, Planted, measure
from benchmarks.realism_order import DAMAGE, SETS, cohort_of, in_order, measured, tau

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planted]:
    return measure(tmp_path_factory.mktemp("planted"), trainings=5, seed=0)


def test_an_oracle_helps(planted: dict[str, Planted]) -> None:
    # By AUROC, which shows a gain with fewer patients than accuracy does.
    claim = planted["oracle"].arms.comparisons[AUGMENTED]["auroc"]
    assert claim.verdict == "helps", claim
    assert claim.low > 0


@pytest.mark.parametrize("name", ["noise", "labels shuffled", "lesions forgotten"])
@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_what_knows_nothing_of_lesions_never_helps(planted: dict[str, Planted], name: str, metric: str) -> None:
    for arm, by_metric in planted[name].arms.comparisons.items():
        assert by_metric[metric].verdict != "helps", (arm, by_metric[metric])


def test_fine_anatomy_without_lesions_has_a_good_distance_and_no_lesion_fidelity(planted: dict[str, Planted]) -> None:
    oracle, forgotten, noise = (planted[name] for name in ("oracle", "lesions forgotten", "noise"))
    assert forgotten.fid < noise.fid / 10
    assert forgotten.fid < 2 * oracle.fid
    assert forgotten.fidelity[2] < oracle.fidelity[1]  # the intervals do not touch


@pytest.mark.real_data
@pytest.mark.skipif("GANSWEEP_REAL_DATA" not in os.environ, reason="GANSWEEP_REAL_DATA is not set")
def test_realism_metrics_fall_in_order_on_real_images(tmp_path: Path) -> None:
    """One seed. Precision and density are blind to dropped modes, and recall may rise with a little damage."""
    root = Path(os.environ["GANSWEEP_REAL_DATA"])
    distances = ("fid", "kid", "sliced_wasserstein")
    for name, n in SETS.items():
        found = measured(cohort_of(root / name, tmp_path / name), n, seed=0)
        assert set(found) == set(DAMAGE)
        for damage in ("blur", "noise", "contrast"):
            for metric in (*distances, "coverage"):
                worse = found[damage][metric]
                assert in_order(metric, worse) or (damage == "noise" and tau(worse) > 0.7), (name, damage, metric)
        dropped = found["dropped modes"]
        for metric in ("recall", "coverage"):
            assert tau(dropped[metric]) > 0.7, (name, metric, dropped[metric])
        for metric in distances:  # the first of several modes hardly moves a distance, the last ones do
            assert dropped[metric][-1] > 2 * max(dropped[metric][:2]), (name, metric, dropped[metric])


def test_the_same_generator_twice_is_rarely_called_a_difference() -> None:
    """200 null comparisons at 5 %: 10 alarms are expected, more than 22 of a kind have a chance of one in 5,000."""
    found = alarms(comparisons=200, trainings=3)
    counts = [count for by_metric in found.values() for count in by_metric.values()]
    assert all(count <= 22 for count in counts), found
    assert any(counts)
