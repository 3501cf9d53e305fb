"""Statistics of copying: closed forms, brute force, and what they say where nothing was copied."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from gansweep.scoring.memorisation.copying import closer_than_held_out, copies, membership_auc, memorisation_excess
from gansweep.scoring.memorisation.neighbours import (
    SHIFT,
    SIDE,
    Nearest,
    by_patient,
    drawn_patients,
    lowest_by_patient,
    nearness,
    pixel_distances,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pixel_distances_are_the_least_over_flips_and_shifts() -> None:
    a, b = torch.rand(4, 2, 16, 16, generator=seeded(0)), torch.rand(3, 2, 16, 16, generator=seeded(1))
    side = 16 - 2 * SHIFT
    inside = b.numpy()[..., SHIFT : SHIFT + side, SHIFT : SHIFT + side]
    expected = np.full((4, 3), np.inf)
    for i, picture in enumerate(a.numpy()):
        for turned in (picture, picture[..., ::-1]):
            for y in range(2 * SHIFT + 1):
                for x in range(2 * SHIFT + 1):
                    moved = turned[:, y : y + side, x : x + side]
                    expected[i] = np.minimum(expected[i], np.sqrt(((inside - moved) ** 2).mean((1, 2, 3))))
    np.testing.assert_allclose(pixel_distances(a, b).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [16, SIDE, 64])
def test_copies_that_were_flipped_or_shifted_are_at_no_distance(size: int) -> None:
    image = torch.rand(1, 1, size, size, generator=seeded(0)) * 2 - 1
    step = max(1, size // SIDE)
    for copy in (image, image.flip(-1), image.roll((SHIFT * step, -SHIFT * step), (2, 3))):
        assert float(pixel_distances(copy, image)) < 1e-3
    assert float(pixel_distances(image.roll(4 * step, 2), image)) > 0.1
    assert float(pixel_distances(torch.ones(1, 1, size, size), -torch.ones(1, 1, size, size))) == pytest.approx(2)


def test_the_distance_to_a_patient_is_that_to_the_nearest_image() -> None:
    found, column = by_patient(torch.tensor([[3.0, 1.0, 2.0], [1.0, 5.0, 4.0]]), ("a", "b", "a"))
    assert found.tolist() == [[2.0, 1.0], [1.0, 5.0]]
    assert column.tolist() == [0, 1, 0]
    assert lowest_by_patient(torch.tensor([3.0, 1.0, 2.0]), ("a", "b", "a")).tolist() == [2.0, 1.0]


def test_nearness_compares_the_nearest_patient_with_the_next() -> None:
    distances = torch.tensor([[4.0, 1.0, 2.0, 6.0], [0.0, 5.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0], [7.0, 7.0, 7.0, 7.0]])
    assert nearness(distances, 2).tolist() == pytest.approx([1 / 3, 0, 1, 1])


def test_whole_patients_are_drawn() -> None:
    patients = [f"p{i // 4}" for i in range(40)]
    rows = drawn_patients(patients, 10, 0)
    assert len(rows) == 12
    assert len({patients[row] for row in rows.tolist()}) == 3
    assert drawn_patients(patients, 40, 0).tolist() == list(range(40))
    assert len(drawn_patients([], 10, 0)) == 0


def points(seed: int, training: int, held_out: int, n: int, share: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances of n samples to patients in the plane; a share of the samples are training patients."""
    generator = seeded(seed)
    real, fake = torch.randn(training + held_out, 2, generator=generator), torch.randn(n, 2, generator=generator)
    copied = int(share * n)
    fake[:copied] = real[torch.randint(training, (copied,), generator=generator)]
    distances = torch.cdist(fake, real)
    return distances[:, :training], distances[:, training:]


def test_the_excess_is_one_for_a_replay_and_minus_the_odds_for_the_opposite() -> None:
    training, held_out = points(0, 30, 10, 100, share=1.0)
    value, low, high = memorisation_excess(Nearest.of(training), Nearest.of(held_out))
    assert (value, high) == (1.0, 1.0)
    assert 0.5 < low < 1.0
    assert memorisation_excess(Nearest.of(held_out), Nearest.of(training))[0] == pytest.approx(-1 / 3)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_excess_is_the_share_of_copies_and_its_interval_holds_it(share: float) -> None:
    found = np.array(
        [memorisation_excess(*map(Nearest.of, points(seed, 40, 20, 200, share)), seed=seed) for seed in range(30)]
    )
    assert found[:, 0].mean() == pytest.approx(share, abs=3 * found[:, 0].std() / np.sqrt(30))
    assert ((found[:, 1] <= share) & (share <= found[:, 2])).mean() >= 0.9


def test_the_area_is_that_of_the_roc_curve_and_of_the_rank_test() -> None:
    rng = np.random.default_rng(0)
    members, others = torch.tensor(rng.integers(0, 9, 20) + 0.0), torch.tensor(rng.integers(2, 12, 30) + 0.0)
    owners = [f"p{i // 2}" for i in range(20)], [f"p{i // 3}" for i in range(30)]
    value, low, high, p = membership_auc(members, others, owners)
    labels = np.r_[np.ones(20), np.zeros(30)]
    assert value == pytest.approx(roc_auc_score(labels, -np.r_[members, others]))
    assert low < value < high
    assert 0 < p <= 1
    u = stats.mannwhitneyu(-members, -others).statistic
    assert closer_than_held_out(members, others, owners)[0] == pytest.approx(u / 600)


def test_the_chance_of_the_attack_is_that_of_all_deals_of_patients() -> None:
    """Against counting through every way to choose the members among the patients."""
    rng = np.random.default_rng(3)
    members, others = rng.normal(size=8), rng.normal(size=8) + 0.8
    owners = [f"m{i // 2}" for i in range(8)], [f"o{i // 2}" for i in range(8)]
    both, whose = np.r_[members, others], np.array([*owners[0], *owners[1]])
    value, _, _, p = membership_auc(torch.tensor(members), torch.tensor(others), owners)
    areas = [
        roc_auc_score(np.isin(whose, chosen), -both) for chosen in combinations(sorted(set(whose)), len(set(owners[0])))
    ]
    assert p == pytest.approx(np.mean(np.array(areas) >= value - 1e-9), abs=0.03)


def test_a_fresh_patient_falls_below_the_threshold_as_often_as_is_said() -> None:
    """Real patients of three images; the share of fresh ones below, over many draws, against the Beta law."""
    rng, below, owners = np.random.default_rng(0), [], [str(i // 3) for i in range(150)]
    said = copies(torch.ones(1), torch.arange(150.0), owners)
    for _ in range(400):
        lowest = rng.random(50) ** 3
        real = np.c_[lowest, lowest[:, None] + rng.random((50, 2))].ravel()
        fresh = torch.tensor(rng.random(2000) ** 3)
        found = copies(fresh, torch.tensor(real), owners)
        below.append(float(found.found.double().mean()))
    assert np.mean(below) == pytest.approx(said.expected, rel=0.15)
    assert said.expected == pytest.approx(1 / 51)
    assert np.mean(np.array(below) > said.high) == pytest.approx(0.025, abs=0.02)


def test_with_many_patients_the_threshold_is_the_hundredth() -> None:
    found = copies(torch.tensor([0.4, 0.0149, 0.0151]), torch.arange(400) / 100, [str(i) for i in range(400)])
    assert found.threshold == pytest.approx(0.03)
    assert found.found.tolist() == [False, True, True]
    assert found.expected == pytest.approx(4 / 401)
