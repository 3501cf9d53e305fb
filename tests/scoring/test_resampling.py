"""Intervals against the true spread, with slices of one patient alike, and with few patients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.scoring.memorisation.copying import membership_auc
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.scoring.metrics.kernel import kernel_distance
from gansweep.scoring.metrics.sliced import sliced_wasserstein
from gansweep.scoring.statistics.resampling import Sample, jackknifed, ratio
from gansweep.scoring.statistics.verdicts import interval


def sample(values: torch.Tensor, slices: int = 1) -> Sample:
    """Values of patients with that many slices each."""
    n = len(values)
    return Sample(values, torch.arange(n) // slices, torch.zeros(n, dtype=torch.int64))


def sliced(real: torch.Tensor, fake: torch.Tensor) -> float:
    return sliced_wasserstein(real, fake, projections=50)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, sliced])
@pytest.mark.parametrize("slices", [1, 4])
def test_the_jackknife_error_is_the_true_spread(distance: object, slices: int) -> None:
    """Against the spread over 100 independent draws, which only a simulation can have.

    Slices of one patient have a correlation of 0.8; halves of slices said 0.3 to 0.6 of the true error of four.
    """

    def drawn(seed: int) -> tuple[Sample, Sample]:
        generator = torch.Generator().manual_seed(seed)

        def normal(n: int) -> torch.Tensor:
            return torch.randn(n, 4, generator=generator, dtype=torch.float64)

        x = normal(100)
        if slices > 1:
            x = 0.2**0.5 * x + 0.8**0.5 * normal(100 // slices).repeat_interleave(slices, 0)
        return sample(x, slices), sample(normal(100) + 0.7)

    spread = np.std([distance(x.values, y.values) for x, y in map(drawn, range(100))])
    said = [jackknifed(distance, *drawn(seed), (-1e9, 1e9), 0) for seed in range(1000, 1005)]
    errors = [(found.high - found.low) / (2 * 1.96) for found in said]
    assert np.mean(errors) == pytest.approx(spread, rel=0.3)


def test_the_mean_over_slices_is_covered_by_the_interval_over_patients() -> None:
    """Patients with one to eight slices each, all alike; 200 repeats, so 0.95 is seen to within 0.03."""
    rng, covered = np.random.default_rng(0), 0
    for seed in range(200):
        counts = rng.integers(1, 9, size=40)
        owners = torch.from_numpy(np.repeat(np.arange(40), counts))
        values = torch.from_numpy(np.repeat(rng.exponential(size=40), counts))
        found = ratio(Sample(values, owners, owners), torch.ones_like(values), seed)
        assert found.value == pytest.approx(float(values.mean()))
        covered += found.low <= 1 <= found.high
    assert 0.88 <= covered / 200 <= 0.98


def test_few_patients_have_no_interval_and_equal_ones_a_point() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 5.0])
    assert ratio(sample(values), torch.ones(4), 0).low is not None
    assert ratio(sample(values[:3]), torch.ones(3), 0)[1:] == (None, None, "no interval: 3 images, 4 are needed")
    assert ratio(sample(values, 2), torch.ones(4), 0)[3] == "no interval: 2 patients, 4 are needed"
    assert ratio(sample(torch.full((6,), 0.3)), torch.ones(6), 0)[:3] == pytest.approx((0.3, 0.3, 0.3))
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    for n in (2, 3):
        assert jackknifed(frechet_distance, sample(x[:n]), sample(x), (0, 9), 0)[1:3] == (None, None)
        assert jackknifed(frechet_distance, sample(x), sample(x[:n]), (0, 9), 0)[1:3] == (None, None)


def test_a_spread_keeps_the_proportions_of_the_classes() -> None:
    labels = torch.arange(400) % 4 // 3  # one in four, in turn
    found = Sample(torch.arange(400.0), torch.arange(400), labels).spread(100)
    assert len(found.values.unique()) == 100
    assert int(found.labels.sum()) == 25
    assert all(found.values.long() % 4 // 3 == found.labels)


def test_images_without_patients_are_each_their_own() -> None:
    images = ImageSet(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))
    assert Sample.of(torch.zeros(4), images).patients == 4
    known = ImageSet(images.images, images.labels, None, ("b", "a", "b", "a"))
    rows = torch.tensor([0, 2, 3])
    assert Sample.of(torch.zeros(3), known, rows).patients == 2
    assert Sample.of(torch.zeros(3), known, rows).labels.tolist() == [0, 0, 1]


def test_other_pseudonyms_change_no_interval() -> None:
    """Each ingest draws them anew, and equal seeds are to give equal scores."""
    rng = np.random.default_rng(0)
    owners = rng.integers(0, 12, size=60)
    labels = torch.from_numpy(owners % 2)
    values = torch.from_numpy(rng.normal(size=(60, 3)))
    said = np.stack([np.zeros((3, 60)), rng.normal(size=(3, 60)) + owners % 2], -1)
    found = set()
    for names in (list("abcdefghijkl"), list("lfbkhaecjgid")):
        patients = tuple(names[owner] for owner in owners)
        images = ImageSet(values[:, :, None, None], labels, patients=patients)
        features = Sample.of(values, images)
        found.add(
            (
                jackknifed(kernel_distance, features, Sample.of(values + 0.1, images), (-1e9, 1e9), 0),
                ratio(Sample.of(values[:, 0].exp(), images), torch.ones(60), 0),
                interval(Predictions(said, labels.numpy(), list(patients), 1), "auroc"),
                membership_auc(values[:30, 0], values[30:, 0], (patients[:30], patients[30:])),
            )
        )
    assert len(found) == 1
