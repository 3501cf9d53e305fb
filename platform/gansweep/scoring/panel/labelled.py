"""Metrics that need labels, with their confidence intervals.

`lesion_fidelity` and `inception_score` evaluate the fake images with a linear classifier of features, trained on the
first half of the real images. `accuracy`, `sensitivity`, `specificity` and `auroc` evaluate a classifier that is
trained on the fake images and tested on the second half of the real images (train on synthetic, test on real). The same
names with `_real_only` are of a classifier trained on the first half of the real images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.registry import METRICS, metrics_of
from gansweep.scoring.statistics.resampling import Sample, jackknifed, too_few
from gansweep.scoring.statistics.verdicts import UndefinedError, interval
from gansweep.scoring.values import MetricValue, Sets, of_resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gansweep.contracts import ImageSet
    from gansweep.scoring.metrics.registry import Metric

__all__ = ["LABELLED", "Probe", "labelled_metrics"]

OF_SAMPLES = (*metrics_of("classes"), *metrics_of("class probabilities"))
OF_ANSWERS = tuple(metrics_of("answers"))
LABELLED = (*OF_SAMPLES, *OF_ANSWERS, *(f"{name}_real_only" for name in OF_ANSWERS))
"""Names of the metrics that need labels."""


def labelled_metrics(sets: Sets, positive: int) -> dict[str, MetricValue]:
    """Computes the metrics in `LABELLED`. They are absent, with the reason, if one of the sets has a single class.

    Args:
        sets: the images, with labels.
        positive: positive class for sensitivity, specificity and AUROC.
    """
    first, second = sets.halves
    checked = (("real", sets.real.labels[first]), ("real", sets.real.labels[second]), ("fake", sets.fake.labels))
    for what, labels in checked:
        if len(labels.unique()) < 2:
            return dict.fromkeys(LABELLED, sets.absent(f"the {what} images, or a half of them, are of one class only"))
    classes = int(torch.cat([sets.real.labels, sets.fake.labels]).max()) + 1
    of_real = Probe.fit(sets.of_real[first], sets.real.labels[first], classes)
    of_fake = Probe.fit(sets.of_fake, sets.fake.labels, classes)
    judged = torch.from_numpy(of_real.probabilities(sets.of_fake))
    return {
        **{name: _of_classes(sets, judged, METRICS[name]) for name in metrics_of("classes")},
        **{name: _of_probabilities(sets, judged, METRICS[name]) for name in metrics_of("class probabilities")},
        **_transferred(sets, of_fake, positive, ""),
        **_transferred(sets, of_real, positive, "_real_only"),
    }


def _of_classes(sets: Sets, judged: Tensor, metric: Metric) -> MetricValue:
    """Returns the mean over the fake images, with its interval over their patients."""
    hits = metric.compute(judged, sets.fake.labels)
    counts = (len(sets.halves[0]), len(judged))
    reason = too_few(Sample.of(hits, sets.fake))
    if reason:
        return MetricValue(float(hits.mean()), None, None, *counts, sets.extractor, reason)
    # The interval of a fraction is computed as the interval of an accuracy. No class is positive, because a positive
    # class would need two patients.
    said = Predictions(
        torch.stack([1 - hits, hits], 1).numpy()[None],
        np.ones(len(hits), dtype=np.int64),
        _patients(sets.fake, torch.arange(len(hits))),
        positive=-1,
    )
    return MetricValue(*interval(said, "accuracy", seed=sets.seed), *counts, sets.extractor)


def _of_probabilities(sets: Sets, judged: Tensor, metric: Metric) -> MetricValue:
    bounds = (float(metric.range[0]), min(float(metric.range[1]), float(judged.shape[1])))
    fake = Sample.of(judged, sets.fake)
    found = jackknifed(lambda _, fake: metric.compute(fake), fake, fake, bounds, sets.seed)
    return of_resampled(found, len(sets.halves[0]), len(fake), sets.extractor, "a linear classifier on the features")


def _transferred(sets: Sets, probe: Probe, positive: int, suffix: str) -> dict[str, MetricValue]:
    """Returns scores of a classifier, trained on other images, on the second half of the real images."""
    training_half, rows = sets.halves
    if suffix:
        kind = "real"
        training_labels = sets.real.labels[training_half]
        counts = (len(rows), 0)
    else:
        kind = "fake"
        training_labels = sets.fake.labels
        counts = (len(rows), len(sets.fake))
    probabilities = probe.probabilities(sets.of_real[rows])
    labels = sets.real.labels[rows]
    predictions = Predictions(probabilities[None], labels.numpy(), _patients(sets.real, rows), positive)
    reason = f"trained on {len(training_labels)} {kind} images, tested on {len(rows)} real ones"
    found = {name: _judged(sets, predictions, name, counts, reason) for name in OF_ANSWERS}
    about = {name: metric.about for name, metric in metrics_of("answers").items()}
    # Both sets have at least two classes, but if there are three, the positive class may be missing.
    if not (training_labels == positive).any():
        none = sets.absent(f"none of the {len(training_labels)} {kind} images trained on is of the positive class")
        found |= {name: none for name in OF_ANSWERS if about[name] != "all"}
    if not (labels == positive).any():
        none = sets.absent(f"none of the {len(rows)} real images tested on is of the positive class")
        found |= {name: none for name in OF_ANSWERS if about[name] in {"positive", "both"}}
    return {name + suffix: value for name, value in found.items()}


def _patients(images: ImageSet, rows: Tensor) -> list[str]:
    """Returns the patients of the images in `rows`. Each image of unknown patients counts as its own patient."""
    patients = images.patients or range(len(images))
    return [str(patients[row]) for row in rows]


def _judged(sets: Sets, said: Predictions, metric: str, counts: tuple[int, int], reason: str) -> MetricValue:
    """Returns the metric with its interval over the test patients."""
    try:
        value, low, high = interval(said, metric, seed=sets.seed)
    except UndefinedError as undefined:
        return sets.absent(undefined.what)
    few = too_few(Sample.of(sets.of_real, sets.real, sets.halves[1]))
    if few:
        return MetricValue(value, None, None, *counts, sets.extractor, f"{reason}; {few}")
    return MetricValue(value, low, high, *counts, sets.extractor, reason)


@dataclass(frozen=True)
class Probe:
    """Class-balanced logistic regression on standardised features.

    Args:
        model: fitted scikit-learn pipeline.
        classes: number of classes, including classes not seen in training.
    """

    model: Any
    classes: int

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, classes: int) -> Probe:
        """Fits the classifier to features `[n, d]` with `labels` `[n]`, which must have at least two classes."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        # Strong regularisation, because there are often more features than images.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        return cls(model.fit(features.numpy(), labels.numpy()), classes)

    def probabilities(self, features: Tensor) -> NDArray[np.float64]:
        """Returns class probabilities `[n, classes]`."""
        known = cast("NDArray[np.float64]", self.model.predict_proba(features.numpy()))
        found = np.zeros((len(known), self.classes))
        found[:, self.model.classes_] = known
        return found
