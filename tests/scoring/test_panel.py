"""The panel of `gansweep score`: everything is there, with its uncertainty, or says why not; bad sets are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.errors import CohortError, ConfigError
from gansweep.scoring.memorisation.examination import FIGURES
from gansweep.scoring.metrics.registry import METRICS, metrics_of
from gansweep.scoring.panel.score import PanelInputs, _halves, score_sets
from tests.scoring.discs import disc_set

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.scoring.values import MetricValue


class Pooled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x[:, :1], 4).flatten(1)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "pooled.pt"
    torch.jit.save(torch.jit.script(Pooled()), path)
    return path


def scored(real: ImageSet, fake: ImageSet, *how: Path | int, **named: Any) -> dict[str, MetricValue]:
    """`score_sets`, with what belongs to the inputs sorted out of `named`."""
    inputs = {name: named.pop(name) for name in ("positive", "training", "held_out") if name in named}
    return score_sets(PanelInputs(real, fake, **inputs), *how, **named)


@pytest.fixture(scope="module")
def panel(features: Path) -> dict[str, MetricValue]:
    return scored(disc_set(40, 0), disc_set(30, 5), features)


def test_every_metric_is_there(panel: dict[str, MetricValue]) -> None:
    of_a_trial = {*metrics_of("fusion"), *metrics_of("masks")}
    assert set(METRICS) - of_a_trial < set(panel)
    assert not of_a_trial & set(panel)
    assert {
        "fid_floor",
        "fid_matched",
        "kid_floor",
        "lpips",
        "lesion_fidelity",
        "inception_score",
        "accuracy",
        "auroc",
    } < set(panel)


def test_values_lie_in_their_intervals_and_ranges_or_have_a_reason(panel: dict[str, MetricValue]) -> None:
    for name, metric in panel.items():
        if metric.value is None:
            assert metric.reason, name
            assert metric.low is None, name
        else:
            assert metric.low is not None, name
            assert metric.high is not None, name
            assert metric.low <= metric.value <= metric.high, name
        if name in METRICS and metric.value is not None:
            low, high = METRICS[name].range
            assert low <= metric.value <= high, name


def test_numbers_that_depend_on_an_extractor_name_it(panel: dict[str, MetricValue]) -> None:
    assert panel["fid"].features.startswith("pooled:")
    assert panel["fid"].features == panel["kid_floor"].features == panel["lesion_fidelity"].features
    assert (panel["fid"].n_real, panel["fid"].n_fake) == (40, 30)
    assert (panel["fid_floor"].n_real, panel["fid_floor"].n_fake) == (20, 20)


def test_the_floor_has_a_distance_of_as_many_images_beside_it(panel: dict[str, MetricValue], features: Path) -> None:
    for name in ("fid", "kid", "sliced_wasserstein"):
        floor, matched = panel[f"{name}_floor"], panel[f"{name}_matched"]
        assert (matched.n_real, matched.n_fake) == (floor.n_real, floor.n_fake) == (20, 20)
        assert matched.reason == "half of the real images against 20 fake ones: to be held against the floor"
    assert "precision_matched" not in panel
    few = scored(disc_set(40, 0), disc_set(12, 5), features)
    assert (few["fid_matched"].n_fake, few["fid_floor"].n_fake) == (12, 12)


def test_a_half_of_one_image_has_no_floor(features: Path) -> None:
    real = replace(disc_set(8, 0), patients=("a",) * 7 + ("b",))
    found = scored(real, disc_set(30, 5), features)
    assert found["fid"].value is not None
    for name in ("fid_floor", "kid_matched", "sliced_wasserstein_floor"):
        assert (found[name].value, found[name].reason) == (None, "a half of the real images holds a single one")


def test_a_fault_that_the_floor_would_let_pass_shows_when_matched(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 images with 5 % less contrast: at three times the distance of faultless ones, and still below the floor."""
    monkeypatch.setattr("gansweep.scoring.statistics.resampling.HALVES", 2)
    sums = dict.fromkeys(("fid", "fid_matched", "fid_floor"), 0.0)
    for seed in range(6):
        fake = disc_set(400, 50 + seed)
        found = scored(disc_set(24, seed), replace(fake, images=fake.images * 0.95), features, seed=seed)
        for name in sums:
            sums[name] += found[name].value
    assert sums["fid"] < 0.7 * sums["fid_floor"]
    assert sums["fid_matched"] > sums["fid_floor"]


def test_it_is_json(panel: dict[str, MetricValue]) -> None:
    plain = json.loads(json.dumps({name: metric.as_dict() for name, metric in panel.items()}, allow_nan=False))
    assert set(plain["fid"]) == {"value", "low", "high", "n_real", "n_fake", "features"}
    assert plain["ssim"]["reason"] == "the sets are not paired"


def test_pairs_are_measured_when_the_caller_says_that_they_are(features: Path) -> None:
    real = disc_set(20, 0, 64)
    fake = replace(real, images=(real.images + 0.05).clamp(-1, 1))
    panel = scored(real, fake, features, paired=True)
    assert panel["psnr"].value is not None
    assert panel["psnr"].value > 30
    assert panel["ms_ssim"].reason == "needs images above 160 pixels, these have 64"
    assert panel["lpips"].reason == "no weights file was named"
    assert scored(real, real, features, paired=True)["psnr"].reason == "infinite: some pairs are equal"


def test_memorisation_is_measured_against_what_the_generator_saw(features: Path, panel: dict[str, MetricValue]) -> None:
    assert {panel[name].reason for name in FIGURES} == {"no training images were named"}
    training, held_out = disc_set(40, 1), disc_set(30, 2)
    found = scored(disc_set(40, 3), disc_set(40, 1), features, training=training, held_out=held_out)
    assert set(FIGURES) < set(found)
    assert found["copies_features"].value == 1.0
    assert found["copies_features"].features.startswith("pooled:")
    assert found["memorisation_excess_features"].value is not None
    assert (found["copies_pixels"].n_real, found["copies_pixels"].n_fake) == (70, 40)
    alone = scored(disc_set(40, 3), disc_set(40, 4), features, training=training)
    assert alone["copies_pixels"].value is not None
    assert alone["membership_auc_pixels"].reason == "fewer than two held-out patients"
    with pytest.raises(CohortError, match="training images are 1x64x64, fake ones 1x32x32"):
        scored(disc_set(40, 3), disc_set(40, 1), features, training=disc_set(20, 1, 64))


def test_one_class_leaves_out_what_needs_labels(features: Path) -> None:
    fake = disc_set(30, 5)
    panel = scored(disc_set(40, 0), replace(fake, labels=torch.zeros_like(fake.labels)), features)
    assert panel["accuracy"].reason == "the fake images, or a half of them, are of one class only"
    assert panel["fid"].value is not None


@pytest.mark.parametrize(
    ("labels", "positive", "missing", "reason"),
    [
        ([1] * 2 + [0] * 18, 1, {"sensitivity", "auroc"}, "fewer than two test patients in a class"),
        ([0, 1] * 10 + [2], 2, {"sensitivity", "auroc"}, "none of the 10 real images tested on is of the positive"),
    ],
)
def test_a_score_that_the_tested_half_cannot_give_is_absent_and_the_rest_is_there(
    labels: list[int], positive: int, missing: set[str], reason: str, features: Path
) -> None:
    real = replace(disc_set(len(labels), 0), labels=torch.tensor(labels), patients=())
    found = scored(real, disc_set(30, 5), features, positive=positive)
    for name in [name + suffix for name in missing for suffix in ("", "_real_only")]:
        assert found[name].value is None, name
        assert found[name].reason.startswith(reason), name
    assert found["fid"].value is not None
    assert found["lesion_fidelity"].value is not None
    if positive == 2:
        assert found["accuracy"].value is not None


def test_a_positive_class_that_was_not_trained_on_leaves_out_what_is_about_it(features: Path) -> None:
    """Of three classes the fake images have two: a sensitivity of 0 would be nobody's fault but the labels'."""
    real = replace(disc_set(36, 0), labels=torch.arange(36) % 3, patients=())
    found = scored(real, disc_set(12, 5), features, positive=2)
    for name in ("sensitivity", "specificity", "auroc"):
        assert found[name].value is None
        assert found[name].reason == "none of the 12 fake images trained on is of the positive class"
        assert found[f"{name}_real_only"].value is not None
    assert found["accuracy"].value is not None


def test_lesion_fidelity_counts_patients(features: Path) -> None:
    real, once = disc_set(40, 0), replace(disc_set(6, 5), patients=())
    slices = ImageSet(
        once.images.repeat_interleave(10, 0),
        once.labels.repeat_interleave(10),
        patients=tuple(f"p{i // 10}" for i in range(60)),
    )
    of_patients, of_images, of_three = (
        scored(real, fake, features)["lesion_fidelity"]
        for fake in (slices, replace(slices, patients=()), ImageSet(once.images[:3], once.labels[:3]))
    )
    assert of_patients.high - of_patients.low > 2 * (of_images.high - of_images.low)
    assert of_three.value is not None
    assert (of_three.low, of_three.reason) == (None, "no interval: 3 images, 4 are needed")


def test_images_that_are_all_alike_have_an_inception_score_of_one(features: Path) -> None:
    fake = ImageSet(torch.zeros(10, 1, 32, 32), torch.arange(10) % 2)
    found = scored(disc_set(20, 0), fake, features)["inception_score"]
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_metric_that_fails_is_absent_with_the_reason_and_the_rest_is_there(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> float:
        raise RuntimeError("linalg.svd: failed\nto converge")

    for name, compute in (("fid", fails), ("precision", fails), ("kid", lambda *_: float("nan"))):
        monkeypatch.setitem(METRICS, name, replace(METRICS[name], compute=compute))
    monkeypatch.setattr("gansweep.scoring.panel.labelled.Probe.fit", fails)
    found = scored(disc_set(20, 0), disc_set(12, 5), features)
    for name in ("fid", "fid_floor", "fid_matched", "precision", "lesion_fidelity", "auroc_real_only"):
        assert (found[name].value, found[name].reason) == (None, "not computable: linalg.svd: failed to converge"), name
    assert (found["kid"].value, found["kid"].low, found["kid"].reason) == (None, None, "not finite")
    assert found["recall"].value is not None
    json.dumps({name: metric.as_dict() for name, metric in found.items()}, allow_nan=False)


def test_a_set_of_its_own_gets_an_encoder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.scoring.panel.score.ENCODER_STEPS", 10)
    monkeypatch.setattr("gansweep.scoring.statistics.resampling.HALVES", 4)
    told: list[tuple[str, int, int]] = []
    found = scored(disc_set(24, 0), disc_set(16, 5), progress=lambda *step: told.append(step))
    assert found["fid"].features.startswith("cohort-encoder:")
    assert told == [("training an encoder", done, 10) for done in range(1, 11)]
    seen = scored(disc_set(24, 0), disc_set(16, 5), training=disc_set(20, 1), held_out=disc_set(10, 2))
    absent = seen["memorisation_excess_features"]
    assert (absent.value, absent.reason) == (None, "the extractor was trained on half of the real images")
    assert seen["membership_auc_features"].value is not None


def test_halves_share_no_patient_and_both_have_every_class() -> None:
    real = disc_set(40, 0)
    labels = torch.tensor([i // 4 % 2 for i in range(40)])
    real = replace(real, labels=labels, patients=tuple(f"p{i // 4}" for i in range(40)))
    first, second = _halves(real, 0)
    assert not {real.patients[i] for i in first.tolist()} & {real.patients[i] for i in second.tolist()}
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(40))
    assert len(labels[first].unique()) == len(labels[second].unique()) == 2


def test_intervals_count_patients_not_slices(features: Path) -> None:
    """Five equal slices of each of eight patients are eight patients' worth of evidence, and no more."""
    once = disc_set(8, 0)
    real = replace(
        once,
        images=once.images.repeat_interleave(5, 0),
        labels=once.labels.repeat_interleave(5),
        patients=tuple(f"p{i // 5}" for i in range(40)),
    )
    fake = replace(disc_set(200, 5), patients=())  # many, so that the interval is that of the real patients
    by_patient, by_slice = (scored(r, fake, features) for r in (real, replace(real, patients=())))

    def width(panel: dict[str, MetricValue], name: str) -> float:
        return panel[name].high - panel[name].low

    for name in ("kid", "sliced_wasserstein", "spatial_frequency_real"):
        assert width(by_patient, name) > 1.5 * width(by_slice, name), name
        assert by_patient[name].value == by_slice[name].value
    dose = torch.linspace(0.05, 0.4, 8).repeat_interleave(5).view(-1, 1, 1, 1)  # some patients are translated worse
    pairs = ImageSet(real.images + dose, real.labels)
    one, other = (scored(r, pairs, features, paired=True) for r in (real, replace(real, patients=())))
    assert width(one, "psnr") > 1.8 * width(other, "psnr"), "five slices of each: the root of five"


def test_fewer_than_four_patients_give_a_value_without_an_interval(features: Path) -> None:
    real, fake = disc_set(24, 0), disc_set(30, 5)
    three = scored(replace(real, patients=tuple(f"p{i // 8}" for i in range(24))), fake, features)
    assert three["fid"].value is not None
    assert (three["fid"].low, three["fid"].high) == (None, None)
    assert three["fid"].reason == three["spatial_frequency_real"].reason == "no interval: 3 patients, 4 are needed"
    assert three["fid_floor"].reason.endswith("patients; no interval: 1 patient, 4 are needed")
    two = scored(real, ImageSet(fake.images[:2], fake.labels[:2]), features)
    assert (two["kid"].low, two["kid"].reason) == (None, "no interval: 2 images, 4 are needed")
    assert two["kid"].as_dict()["low"] is None


def broken(kind: str) -> tuple[ImageSet, ImageSet]:
    real, fake = disc_set(20, 0), disc_set(20, 1)
    if kind == "nan":
        images = fake.images.clone()
        images[3, 0, 4, 4] = torch.nan
        return real, replace(fake, images=images)
    return {
        "few": (real, ImageSet(fake.images[:1], fake.labels[:1])),
        "size": (real, disc_set(20, 1, 64)),
        "channels": (real, replace(fake, images=fake.images.repeat(1, 3, 1, 1))),
        "one patient": (replace(real, patients=("p",) * 20), fake),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("few", "1 fake images; at least 2 are needed"),
        ("size", "real images are 1x32x32, fake ones 1x64x64"),
        ("channels", "real images are 1x32x32, fake ones 3x32x32"),
        ("nan", "1 fake images hold values that are not finite"),
        ("one patient", "the real images are of one patient"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(kind: str, line: str, features: Path) -> None:
    with pytest.raises(CohortError, match=line):
        scored(*broken(kind), features)


def test_pairs_of_unequal_number_and_a_wrong_extractor_are_refused(tmp_path: Path, features: Path) -> None:
    with pytest.raises(CohortError, match="40 real and 30 fake images cannot be pairs"):
        scored(disc_set(40, 0), disc_set(30, 1), features, paired=True)
    (tmp_path / "not.pt").write_text("weights")
    with pytest.raises(ConfigError, match="not a TorchScript file"):
        scored(disc_set(40, 0), disc_set(30, 1), tmp_path / "not.pt")
