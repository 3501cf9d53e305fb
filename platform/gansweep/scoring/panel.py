"""Every metric between two sets of images, with intervals: what `gansweep score` prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from gansweep.errors import CohortError
from gansweep.scoring.ct import hounsfield
from gansweep.scoring.memorisation.examination import FIGURES, assess
from gansweep.scoring.metrics import lesions
from gansweep.scoring.metrics.classification import Detection, inception_score
from gansweep.scoring.metrics.paired import lpips as perceptual_distance
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.metrics.value import MEASURED, MetricValue, Sets, attempted, of_resampled
from gansweep.scoring.networks.encoder import extractor_of, train_encoder
from gansweep.scoring.networks.extractors import Extractor, load_extractor
from gansweep.scoring.statistics.resampling import Sample, jackknifed, too_few
from gansweep.scoring.statistics.verdicts import Predictions, UndefinedError, interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from gansweep.cohort.intensity import Window
    from gansweep.contracts import ImageSet

__all__ = ["MetricValue", "score_sets"]

ENCODER_STEPS = 600
LABELLED = ("lesion_fidelity", "inception_score", *Detection._fields, *(f"{n}_real_only" for n in Detection._fields))
"""Names of the metrics that need labels."""


def score_sets(
    real: ImageSet,
    fake: ImageSet,
    features: str | Path | None = None,
    seed: int = 0,
    *,
    paired: bool = False,
    lpips: str | Path | None = None,
    positive: int = 1,
    training: ImageSet | None = None,
    held_out: ImageSet | None = None,
    window: Window | None = None,
    device: torch.device | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, MetricValue]:
    """Every metric of `METRICS` between real and synthetic images, floors beside distances, and what labels allow.

    Real images are split by patient into halves. The cohort's own encoder, where no extractor is named, is trained on
    the first alone. Distances are from all real images to the fake ones; a `_floor` is the distance between the two
    halves, what real images of other patients get, and `_matched` is that of the first half to as many fake images.
    Only these two may be compared: a distance of more images is less, whatever is in them. What cannot be computed of
    these images is absent with the reason.

    With labels: `lesion_fidelity`, the share of fake images in which a linear classifier on the features of the first
    half sees the class they claim; `inception_score` by its probabilities; and `accuracy`, `sensitivity`,
    `specificity`, `auroc` of one trained on the fake images and tested on the second half (train on synthetic, test on
    real), beside `_real_only`, of one trained on the first half.

    With masks: `gansweep.scoring.metrics.lesions`. Of CT, with its `window`: `gansweep.scoring.ct.hounsfield`.

    With `training`: the figures of `gansweep.scoring.memorisation.examination`. The excess in features needs a named
    extractor: the cohort's own encoder has seen some of the patients.

    Args:
        real: at least eight images, in [-1, 1].
        fake: at least two, of the same size and channels.
        features: a TorchScript extractor; None: an encoder trained on half of `real`.
        seed: of halves and resampling.
        paired: image i of `fake` was made for image i of `real`; without it, metrics of pairs are absent.
        lpips: a TorchScript file with LPIPS weights; without it, LPIPS is absent.
        positive: the class of sensitivity, specificity and AUROC.
        training: what the generator of the fake images was trained on; without it, memorisation is absent.
        held_out: real images that it was not trained on.
        window: of CT, how Hounsfield units became [0, 1]; without it, figures in HU are absent.
        device: where to extract features; the CPU by default.
        progress: called with (what, steps done, steps in all) while an encoder is trained.

    Raises:
        CohortError: too few images, values not finite, sets of different size or channels, pairs of unequal number.
        ConfigError: an extractor or a weights file that cannot be used.
    """
    _check(real, fake, paired=paired)
    for images, what in ((training, "training"), (held_out, "held-out")):
        _check_shape(real if images is None else images, what, fake)
    halves = _halves(real, seed)
    device = device or torch.device("cpu")
    extractor = load_extractor(features, device) if features else _encoder(real, halves[0], device, progress)
    of_real = extractor.features(real.images)
    of_fake = extractor.features(fake.images)
    sets = Sets(real, fake, of_real, of_fake, halves, extractor.name, paired, seed)
    found: dict[str, MetricValue] = {}
    for name, metric in METRICS.items():
        found |= attempted([name], sets, partial(MEASURED[metric.of], name, metric, sets))
    found["lpips"] = _lpips(sets, lpips)
    found |= attempted(LABELLED, sets, partial(_labelled, sets, positive))
    found |= attempted(lesions.NAMES, sets, partial(lesions.lesion_distances, sets, extractor))
    found |= attempted(hounsfield.NAMES, sets, partial(hounsfield.hounsfield_values, sets, window, positive))
    return found | attempted(FIGURES, sets, partial(_memorisation, sets, training, held_out, extractor))


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
    shapes = ["x".join(str(n) for n in images.images.shape[1:]) for images in (real, fake)]
    if shapes[0] != shapes[1]:
        raise CohortError(f"{what} images are {shapes[0]}, fake ones {shapes[1]}", fix="make both of one size and kind")


def _halves(real: ImageSet, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of two halves that share no patient, each class dealt out evenly."""
    patients = real.patients or tuple(str(row) for row in range(len(real)))
    rows_of: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows_of.setdefault(patient, []).append(row)
    order = torch.randperm(len(rows_of), generator=torch.Generator().manual_seed(seed))
    groups = [list(rows_of.values())[i] for i in order.tolist()]
    groups.sort(key=lambda rows: int(real.labels[rows[0]]))  # stable: the random order stays within a class
    if len(groups) < 2:
        raise CohortError("the real images are of one patient", fix="at least two patients are needed")
    first, second = ([row for rows in groups[start::2] for row in rows] for start in (0, 1))
    return torch.tensor(first), torch.tensor(second)


def _encoder(
    real: ImageSet, rows: Tensor, device: torch.device, progress: Callable[[str, int, int], None] | None
) -> Extractor:
    train = replace(real, images=real.images[rows], labels=real.labels[rows], masks=None, patients=())
    encoder = train_encoder(train, int(real.labels.max()) + 1, ENCODER_STEPS, device, progress)
    return extractor_of(encoder.state_dict(), device, "half of the real images")


def _memorisation(
    sets: Sets, training: ImageSet | None, held_out: ImageSet | None, extractor: Extractor
) -> dict[str, MetricValue]:
    if training is None:
        return dict.fromkeys(FIGURES, sets.absent("no training images were named"))
    return dict(assess(sets.fake.images, training, held_out, extractor, seed=sets.seed).figures)


def _lpips(sets: Sets, weights: str | Path | None) -> MetricValue:
    if not sets.paired:
        return sets.absent("the sets are not paired")
    if weights is None:
        return sets.absent("no weights file was named")
    return sets.mean_of_pairs(perceptual_distance(sets.real.images, sets.fake.images, weights=Path(weights)))


def _labelled(sets: Sets, positive: int) -> dict[str, MetricValue]:
    """Metrics that need labels; absent, with the reason, where one of the sets has a single class."""
    a, b = sets.halves
    for labels, what in ((sets.real.labels[a], "real"), (sets.real.labels[b], "real"), (sets.fake.labels, "fake")):
        if len(labels.unique()) < 2:
            return dict.fromkeys(LABELLED, sets.absent(f"the {what} images, or a half of them, are of one class only"))
    classes = int(torch.cat([sets.real.labels, sets.fake.labels]).max()) + 1
    of_real = Probe.fit(sets.of_real[a], sets.real.labels[a], classes)
    of_fake = Probe.fit(sets.of_fake, sets.fake.labels, classes)
    judged = torch.from_numpy(of_real.probabilities(sets.of_fake))
    return {
        "lesion_fidelity": _fidelity(sets, judged),
        "inception_score": _inception(sets, judged),
        **_transferred(sets, of_fake, positive, ""),
        **_transferred(sets, of_real, positive, "_real_only"),
    }


def _fidelity(sets: Sets, judged: Tensor) -> MetricValue:
    right = (judged.argmax(1) == sets.fake.labels).double()
    counts = (len(sets.halves[0]), len(judged))
    if reason := too_few(Sample.of(right, sets.fake)):
        return MetricValue(float(right.mean()), None, None, *counts, sets.extractor, reason)
    # No class is the positive one, which would have to have two patients.
    said = _said(judged.numpy(), sets.fake, torch.arange(len(judged)), positive=-1)
    return MetricValue(*interval(said, "accuracy", seed=sets.seed), *counts, sets.extractor)


def _inception(sets: Sets, judged: Tensor) -> MetricValue:
    bounds = (1.0, float(judged.shape[1]))
    fake = Sample.of(judged, sets.fake)
    found = jackknifed(lambda _, fake: inception_score(fake), fake, fake, bounds, sets.seed)
    return of_resampled(found, len(sets.halves[0]), len(fake), sets.extractor, "a linear classifier on the features")


def _transferred(sets: Sets, probe: Probe, positive: int, suffix: str) -> dict[str, MetricValue]:
    """Scores, on the second half of the real images, of a classifier trained elsewhere."""
    rows = sets.halves[1]
    learnt = sets.real.labels[sets.halves[0]] if suffix else sets.fake.labels
    said = _said(probe.probabilities(sets.of_real[rows]), sets.real, rows, positive)
    kind, counts = ("real", (len(rows), 0)) if suffix else ("fake", (len(rows), len(sets.fake)))
    reason = f"trained on {len(learnt)} {kind} images, tested on {len(rows)} real ones"
    found = {name: _judged(sets, said, name, counts, reason) for name in Detection._fields}
    # Both sets have at least two classes; of three, neither need be the positive one.
    if not (learnt == positive).any():
        none = sets.absent(f"none of the {len(learnt)} {kind} images trained on is of the positive class")
        found |= {"sensitivity": none, "specificity": none, "auroc": none}
    if not (said.labels == positive).any():
        none = sets.absent(f"none of the {len(rows)} real images tested on is of the positive class")
        found |= {"sensitivity": none, "auroc": none}
    return {name + suffix: value for name, value in found.items()}


def _said(probabilities: NDArray[np.float64], images: ImageSet, rows: Tensor, positive: int) -> Predictions:
    """Probabilities `[n, classes]` of those rows of the images; images of unknown patients are each its own."""
    patients = images.patients or range(len(images))
    return Predictions(probabilities[None], images.labels[rows].numpy(), [str(patients[r]) for r in rows], positive)


def _judged(sets: Sets, said: Predictions, metric: str, counts: tuple[int, int], reason: str) -> MetricValue:
    """The metric with its interval over the patients tested on."""
    try:
        value, low, high = interval(said, metric, seed=sets.seed)
    except UndefinedError as undefined:
        return sets.absent(undefined.what)
    if few := too_few(Sample.of(sets.of_real, sets.real, sets.halves[1])):
        return MetricValue(value, None, None, *counts, sets.extractor, f"{reason}; {few}")
    return MetricValue(value, low, high, *counts, sets.extractor, reason)


@dataclass(frozen=True)
class Probe:
    """A class-balanced logistic regression on standardised features.

    Args:
        model: the fitted scikit-learn pipeline.
        classes: number of classes, those that were not seen in training included.
    """

    model: Any
    classes: int

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, classes: int) -> Probe:
        """Fits to features `[n, d]` of images with `labels` `[n]`, at least two classes among them."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        # Strong regularisation: there are often more features than images.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        return cls(model.fit(features.numpy(), labels.numpy()), classes)

    def probabilities(self, features: Tensor) -> NDArray[np.float64]:
        """Class probabilities `[n, classes]`."""
        known = cast("NDArray[np.float64]", self.model.predict_proba(features.numpy()))
        found = np.zeros((len(known), self.classes))
        found[:, self.model.classes_] = known
        return found
