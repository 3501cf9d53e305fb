"""All metrics of two sets of images, with confidence intervals, as printed by `gansweep score`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.errors import CohortError
from gansweep.scoring.ct import hounsfield
from gansweep.scoring.memorisation.examination import FIGURES, assess
from gansweep.scoring.metrics.paired import lpips as perceptual_distance
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.networks.encoder import extractor_of, train_encoder
from gansweep.scoring.networks.extractors import Extractor, load_extractor
from gansweep.scoring.panel import lesions
from gansweep.scoring.panel.labelled import LABELLED, labelled_metrics
from gansweep.scoring.panel.unlabelled import UNLABELLED
from gansweep.scoring.values import MetricValue, Sets, attempted

if TYPE_CHECKING:
    from gansweep.cohort.intensity import Window
    from gansweep.contracts import ImageSet
    from gansweep.files import ProgressCallback

__all__ = ["PanelInputs", "score_sets"]

ENCODER_STEPS = 600


@dataclass(frozen=True)
class PanelInputs:
    """The images to compare, and what is known about them.

    Args:
        real: at least eight images in [-1, 1].
        fake: at least two images of the same size and channels.
        positive: positive class for sensitivity, specificity and AUROC.
        training: training images of the generator that made the fake images; without them, memorisation is absent.
        held_out: real images that the generator was not trained on.
        window: for CT, the window that maps Hounsfield units to [0, 1]; without it, metrics in HU are absent.
    """

    real: ImageSet
    fake: ImageSet
    positive: int = 1
    training: ImageSet | None = None
    held_out: ImageSet | None = None
    window: Window | None = None


def score_sets(
    inputs: PanelInputs,
    features: str | Path | None = None,
    seed: int = 0,
    *,
    paired: bool = False,
    lpips: str | Path | None = None,
    device: torch.device | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, MetricValue]:
    """Computes the metrics in `METRICS` between real and synthetic images, with floors, intervals and labelled metrics.

    Real images are split by patient into halves. If no extractor is given, an encoder is trained on the first half. A
    distance compares all real images with the fake images. `_floor` is the distance between the two halves, which is
    what real images of other patients score. `_matched` is the distance of the first half to as many fake images as the
    other half has. Compare only these two: a distance of more images is smaller, whatever they show. A metric that
    cannot be computed for these images is absent, with the reason. Metrics of fusions and masks are omitted, because
    only trials have them.

    With labels, the result includes `gansweep.scoring.panel.labelled`; with masks, `gansweep.scoring.panel.lesions`;
    for CT with its window, `gansweep.scoring.ct.hounsfield`.

    With training images, it includes the figures of `gansweep.scoring.memorisation.examination`. The excess in features
    needs a given extractor, because the encoder trained here has seen some of the patients.

    Args:
        inputs: the images.
        features: TorchScript extractor; None: an encoder trained on half of the real images.
        seed: seed of the halves and of resampling.
        paired: whether fake image i was made for real image i; without it, metrics of pairs are absent.
        lpips: TorchScript file with LPIPS weights; without it, LPIPS is absent.
        device: device for feature extraction; the CPU by default.
        progress: called with (what, steps done, total steps) while an encoder is trained.

    Raises:
        CohortError: there are too few images, values are not finite, sets differ in size or channels, or pairs differ
            in number.
        ConfigError: an extractor or a weights file cannot be used.
    """
    real = inputs.real
    fake = inputs.fake
    _check(real, fake, paired=paired)
    for images, what in ((inputs.training, "training"), (inputs.held_out, "held-out")):
        _check_shape(real if images is None else images, what, fake)
    halves = _halves(real, seed)
    device = device or torch.device("cpu")
    extractor = load_extractor(features, device) if features else _encoder(real, halves[0], device, progress)
    of_real = extractor.features(real.images)
    of_fake = extractor.features(fake.images)
    sets = Sets(real, fake, of_real, of_fake, halves, extractor.name, paired, seed)
    found: dict[str, MetricValue] = {}
    for name, metric in METRICS.items():
        if metric.takes in UNLABELLED:
            found |= attempted([name], sets, partial(UNLABELLED[metric.takes], name, metric, sets))
    found["lpips"] = _lpips(sets, lpips)
    found |= attempted(LABELLED, sets, partial(labelled_metrics, sets, inputs.positive))
    found |= attempted(lesions.NAMES, sets, partial(lesions.lesion_distances, sets, extractor))
    in_hounsfield = partial(hounsfield.hounsfield_values, sets, inputs.window, inputs.positive)
    found |= attempted(hounsfield.NAMES, sets, in_hounsfield)
    return found | attempted(FIGURES, sets, partial(_memorisation, sets, inputs, extractor))


def _check(real: ImageSet, fake: ImageSet, *, paired: bool) -> None:
    for images, what, least in ((real.images, "real", 8), (fake.images, "fake", 2)):
        if len(images) < least:
            raise CohortError(f"{len(images)} {what} images", fix=f"at least {least} are needed")
        bad = int((~images.isfinite().flatten(1).all(1)).sum())
        if bad:
            raise CohortError(f"{bad} {what} images hold values that are not finite")
    _check_shape(real, "real", fake)
    if paired and len(real) != len(fake):
        raise CohortError(f"{len(real)} real and {len(fake)} fake images cannot be pairs")


def _check_shape(real: ImageSet, what: str, fake: ImageSet) -> None:
    if real.images.shape[1:] != fake.images.shape[1:]:
        raise CohortError(
            f"{what} images are {_shape_text(real)}, fake ones {_shape_text(fake)}",
            fix="make both of one size and kind",
        )


def _shape_text(images: ImageSet) -> str:
    return "x".join(str(length) for length in images.images.shape[1:])


def _halves(real: ImageSet, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the rows of two halves that share no patient, with each class distributed evenly."""
    patients = real.patients or tuple(str(row) for row in range(len(real)))
    rows_of: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows_of.setdefault(patient, []).append(row)
    if len(rows_of) < 2:
        raise CohortError("the real images are of one patient", fix="at least two patients are needed")
    by_patient = list(rows_of.values())
    order = torch.randperm(len(by_patient), generator=torch.Generator().manual_seed(seed))
    groups = [by_patient[place] for place in order.tolist()]
    groups.sort(key=lambda rows: int(real.labels[rows[0]]))  # a stable sort keeps the random order within each class
    first: list[int] = []
    second: list[int] = []
    for number, rows in enumerate(groups):
        half = second if number % 2 else first
        half += rows
    return torch.tensor(first), torch.tensor(second)


def _encoder(real: ImageSet, rows: Tensor, device: torch.device, progress: ProgressCallback | None) -> Extractor:
    train = replace(real, images=real.images[rows], labels=real.labels[rows], masks=None, patients=())
    encoder = train_encoder(train, int(real.labels.max()) + 1, ENCODER_STEPS, device, progress)
    return extractor_of(encoder.state_dict(), device, "half of the real images")


def _memorisation(sets: Sets, inputs: PanelInputs, extractor: Extractor) -> dict[str, MetricValue]:
    if inputs.training is None:
        return dict.fromkeys(FIGURES, sets.absent("no training images were named"))
    return dict(assess(sets.fake.images, inputs.training, inputs.held_out, extractor, seed=sets.seed).figures)


def _lpips(sets: Sets, weights: str | Path | None) -> MetricValue:
    if not sets.paired:
        return sets.absent("the sets are not paired")
    if weights is None:
        return sets.absent("no weights file was named")
    return sets.mean_of_pairs(perceptual_distance(sets.real.images, sets.fake.images, weights=Path(weights)))
