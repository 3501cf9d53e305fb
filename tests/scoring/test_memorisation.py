"""The verdict on memorisation: replays are found however disguised, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from gansweep.contracts import ImageSet
from gansweep.scoring.memorisation.examination import Memorisation, MemorisationLimits, assess
from gansweep.scoring.networks.encoder import extractor_of, train_encoder
from tests.scoring.discs import SIZE, disc_set

if TYPE_CHECKING:
    from gansweep.scoring.networks.extractors import Extractor

CPU = torch.device("cpu")
FIGURES = ("copies", "membership_auc", "memorisation_excess", "closer_than_held_out")


def heads(patients: int, seed: int, slices: int = 2) -> ImageSet:
    """Patients with smooth anatomy of their own and slices that are alike."""
    generator = torch.Generator().manual_seed(seed)
    anatomy = torch.randn(patients, 1, 6, 6, generator=generator).repeat_interleave(slices, 0)
    slice_of = torch.randn(patients * slices, 1, 6, 6, generator=generator)
    smooth = functional.interpolate(anatomy + 0.3 * slice_of, (SIZE, SIZE), mode="bicubic")
    grain = 0.05 * torch.randn(smooth.shape, generator=generator)
    names = tuple(f"{seed}-{i // slices}" for i in range(len(smooth)))
    return ImageSet((smooth.tanh() * 0.8 + grain).clamp(-1, 1), torch.arange(len(smooth)) % 2, None, names)


TRAINING, HELD_OUT = heads(40, 1), heads(20, 2)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return extractor_of(train_encoder(TRAINING, 2, 60, CPU).state_dict(), CPU)


def replay(n: int = 128) -> torch.Tensor:
    return TRAINING.images[torch.randint(len(TRAINING), (n,), generator=torch.Generator().manual_seed(0))]


def noise(n: int = 128, scale: float = 1.0) -> torch.Tensor:
    return scale * (torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1)


def a_tenth_replayed() -> torch.Tensor:
    return torch.cat([replay(26), heads(115, 9).images])


COPIES = {
    "replay": replay(),
    "replay with noise": (replay() + noise(scale=0.2)).clamp(-1, 1),
    "replay turned round": replay().flip(-1),
    "replay shifted": replay().roll((1, -2), (2, 3)),
    "replay made brighter": (replay() * 0.9 + 0.1).clamp(-1, 1),
    "a tenth is replayed": a_tenth_replayed(),
    "one image, always": replay(1).expand(128, -1, -1, -1) + noise(scale=0.02),
}
FRESH = {
    "other patients": heads(64, 5).images,
    "held-out patients": HELD_OUT.images,
    "noise": noise(),
    "blank": torch.full((128, 1, SIZE, SIZE), -1.0),
    "the mean image": TRAINING.images.mean(0, keepdim=True) + noise(scale=0.05),
    "smooth patients": functional.avg_pool2d(heads(64, 6).images, 9, 1, 4),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_generator_that_copies_is_found(kind: str, extractor: Extractor) -> None:
    found = assess(COPIES[kind], TRAINING, HELD_OUT, extractor)
    assert found.memorised, kind
    assert "copies of training images" in found.reason
    floor, share = found.figures["copies_pixels_floor"], found.figures["copies_pixels"]
    assert share.low > floor.high  # type: ignore[operator]


@pytest.mark.parametrize("kind", FRESH)
def test_a_generator_that_does_not_is_not(kind: str, extractor: Extractor) -> None:
    found = assess(FRESH[kind], TRAINING, HELD_OUT, extractor)
    assert found.memorised is False, found.reason
    assert found.reason == ""


def test_smooth_images_fool_the_three_sample_test_and_not_the_verdict() -> None:
    found = assess(FRESH["smooth patients"], TRAINING, HELD_OUT, None).figures
    assert found["closer_than_held_out_pixels"].low > 0.85  # type: ignore[operator]
    assert found["copies_pixels"].value == 0.0


def test_every_figure_has_its_sizes_and_interval_or_a_reason(extractor: Extractor) -> None:
    found = assess(COPIES["replay"], TRAINING, HELD_OUT, extractor)
    spaces = [f"{name}_{space}" for space in ("pixels", "features") for name in FIGURES]
    assert set(found.figures) == {*spaces, "copies_pixels_floor", "copies_features_floor"}
    assert found.counts == {
        "training_images": 80,
        "training_patients": 40,
        "held_out_images": 40,
        "held_out_patients": 20,
        "samples": 128,
    }
    for name, figure in found.figures.items():
        if name != "memorisation_excess_features":
            assert figure.low <= figure.value <= figure.high, name  # type: ignore[operator]
        assert figure.features == (extractor.name if "features" in name else ""), name
    assert found.figures["membership_auc_pixels"].reason.startswith("p = 0.0005")
    assert found.figures["copies_pixels"].value == 1.0
    json.dumps({name: figure.as_dict() for name, figure in found.figures.items()}, allow_nan=False)
    without = assess(COPIES["replay"], TRAINING, HELD_OUT, "it is elsewhere").figures
    assert without["copies_features"].value is None
    assert without["copies_features"].reason == "it is elsewhere"
    assert without["copies_pixels"] == found.figures["copies_pixels"]


def test_an_encoder_of_the_cohort_cannot_tell_the_excess_and_one_of_the_user_can(extractor: Extractor) -> None:
    name = "memorisation_excess_features"
    of_cohort = assess(COPIES["replay"], TRAINING, HELD_OUT, extractor).figures
    assert (of_cohort[name].value, of_cohort[name].low) == (None, None)
    assert of_cohort[name].reason == "the extractor was trained on the training patients"
    of_user = assess(COPIES["replay"], TRAINING, HELD_OUT, replace(extractor, trained_on="")).figures
    assert of_user.pop(name).value == 1.0
    assert of_user == {other: figure for other, figure in of_cohort.items() if other != name}


def spots(patients: int, seed: int) -> ImageSet:
    """Patients of one image of 16 pixels each; every other one has a bright spot."""
    generator = torch.Generator().manual_seed(seed)
    base = functional.interpolate(torch.randn(patients, 1, 6, 6, generator=generator), 16, mode="bicubic")
    images = 0.3 * base + 0.05 * torch.randn(base.shape, generator=generator)
    rows, columns = (torch.rand(2, patients, 1, 1, generator=generator) * 8 + 4).unbind(0)
    axis, labels = torch.arange(16.0), torch.arange(patients) % 2
    spot = (axis[:, None] - rows) ** 2 + (axis - columns) ** 2 < 3
    images += 0.8 * (spot * labels[:, None, None])[:, None]
    return ImageSet(images.clamp(-1, 1), labels, None, tuple(f"{seed}-{i}" for i in range(patients)))


@pytest.mark.acceptance
def test_an_encoder_that_saw_the_training_patients_moves_the_excess() -> None:
    """By how much, the docstrings say; the product's 600 steps."""
    excess: dict[str, list[float]] = {"training": [], "third": []}
    areas: dict[str, list[float]] = {"training": [], "third": []}
    for seed in range(12):
        training, held_out, fresh, third = (spots(n, 4 * seed + part) for part, n in enumerate((60, 60, 200, 60)))
        for name, seen in (("training", training), ("third", third)):
            encoder = extractor_of(train_encoder(seen, 2, 600, CPU).state_dict(), CPU, trained_on="")
            found = assess(fresh.images, training, held_out, encoder).figures
            excess[name].append(found["memorisation_excess_features"].value or 0.0)
            areas[name].append(found["membership_auc_features"].value or 0.0)
    assert sum(excess["training"]) / 12 == pytest.approx(-0.41, abs=0.09)
    assert sum(excess["third"]) / 12 == pytest.approx(-0.02, abs=0.06)
    assert sum(areas["training"]) / 12 == pytest.approx(0.44, abs=0.05)
    assert sum(areas["third"]) / 12 == pytest.approx(0.48, abs=0.03)


def test_the_nearest_pairs_are_named_by_their_rows(extractor: Extractor) -> None:
    rows = torch.tensor([7, 30, 55])
    samples = torch.cat([noise(20), TRAINING.images[rows]])
    again = replace(
        HELD_OUT, images=torch.cat([TRAINING.images[:1], HELD_OUT.images]), patients=("x", *HELD_OUT.patients)
    )
    again = replace(again, labels=torch.zeros(len(again.images), dtype=torch.int64))
    found = assess(samples, TRAINING, again, extractor, pairs=5)
    assert {(pair.sample, pair.training) for pair in found.closest[:3]} == {(20, 7), (21, 30), (22, 55)}
    assert [pair.ratio < 1 for pair in found.closest] == [True, True, True, False, False]
    assert all(pair.held_out for pair in found.closest), "row 0 is a training image and left out"
    assert "1 held-out images that are equal to training images left out" in found.figures["copies_pixels"].reason


def test_the_same_seed_gives_the_same_figures(extractor: Extractor) -> None:
    one, two = (assess(FRESH["other patients"], TRAINING, HELD_OUT, extractor, seed=3) for _ in range(2))
    assert one == two


def few(patients: int, held_out: int) -> Memorisation:
    return assess(
        heads(patients, 1).images.repeat(40, 1, 1, 1),
        heads(patients, 1),
        heads(held_out, 2) if held_out else None,
        None,
    )


def test_few_patients_are_said_and_a_replay_of_them_still_found() -> None:
    found = few(8, 2)
    assert found.memorised
    floor = found.figures["copies_pixels_floor"]
    assert floor.high == pytest.approx(1 - 0.025 ** (1 / 10)), "ten patients say little of what is rare"
    assert found.figures["membership_auc_pixels"].value == 1.0
    assert "AUC" not in found.reason, "two held-out patients may all be farthest by chance"
    alone = few(8, 0)
    assert alone.memorised
    assert alone.figures["membership_auc_pixels"].reason == "fewer than two held-out patients"
    assert few(2, 2).memorised is None
    assert few(2, 2).reason == "2 training patients; nearest neighbours need at least 3"


def test_samples_made_from_few_patients_count_as_few() -> None:
    """Of two other patients' images, one may well look like a training patient."""
    origin = TRAINING.images[:1] + 0.2 * noise(1)
    samples = torch.cat([origin.expand(64, -1, -1, -1), heads(1, 8).images[:1].expand(64, -1, -1, -1)])
    assert assess(samples, TRAINING, HELD_OUT, None).memorised
    assert assess(samples, TRAINING, HELD_OUT, None, origins=2).figures["copies_pixels"].low < 0.1  # type: ignore[operator]


def test_samples_that_are_not_finite_cannot_be_judged() -> None:
    samples = replay()
    samples[3, 0, 4, 4] = torch.nan
    found = assess(samples, TRAINING, HELD_OUT, None)
    assert found.memorised is None
    assert found.reason == "1 samples hold values that are not finite"


def test_limits_decide() -> None:
    strict = MemorisationLimits(copies=0.2, membership_auc=0.99)
    assert assess(COPIES["a tenth is replayed"], TRAINING, HELD_OUT, None, limits=strict).memorised is False


@pytest.mark.acceptance
def test_false_alarms_are_rare() -> None:
    """Over 200 cohorts and generators that draw from the true distribution."""
    alarms = []
    for seed in range(200):
        drawn = [heads(n, 1000 * part + seed) for part, n in ((1, 30), (2, 10), (3, 128))]
        found = assess(drawn[2].images[::2], drawn[0], drawn[1], None, seed=seed)
        assert found.memorised is not None
        alarms.append(found.memorised)
    assert sum(alarms) / len(alarms) <= 0.05


def test_colour_and_disc_cohorts_work_too() -> None:
    training, held_out = disc_set(40, 1), disc_set(20, 2)
    colour = [replace(part, images=part.images.repeat(1, 3, 1, 1)) for part in (training, held_out)]
    assert assess(colour[0].images, *colour, None).memorised
    assert assess(disc_set(64, 3).images.repeat(1, 3, 1, 1), *colour, None).memorised is False
