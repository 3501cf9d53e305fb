"""The scores of a trial: how real its samples look, and what a detector trained with them gains on validation patients.

Which scores these are, the registry says: all of `gansweep.scoring.metrics.registry.METRICS` that are marked `trial`.

Samples are compared with the real *training* images: these are what the generator is asked to imitate, and there are
more of them than of any other split. A generator that replays them therefore scores well here; the detector, which is
tested on patients no generator has seen, and the memorisation checks are there to tell. Beside each distance stands
its floor: the distance of real validation images, of other patients, to the same training images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.contracts import AnswersPairs, Condition, ImageSet, PairedTask, Sampler
from gansweep.distributed import World
from gansweep.errors import Diverged
from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import metrics_of
from gansweep.scoring.networks.detection import fraction_of_ratio, predict, train_detectors
from gansweep.scoring.networks.segmentation import train_segmenters
from gansweep.scoring.reference import Baseline, Reference, ReferenceMaker, ScoredCohort, mask_scores
from gansweep.scoring.sample_filters import filtered
from gansweep.seeds import report_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gansweep.contracts import Trainables

__all__ = ["TrialScorer"]

CHUNK = 64
"""Samples drawn from one seed; the unit in which drawing is split over workers, whatever their number."""


class TrialScorer:
    """Scores the trials of a sweep.

    Under `torch.distributed` every worker must call `score` together: drawing, feature extraction and detectors are
    split over the workers, and each gets the same numbers, those that one worker alone would get.

    Args:
        cohort: the images; only training and validation patients are looked at.
        scoring: how to score.
        trainables: where the detector's name is looked up.
        cache: a folder for the encoder, the features of real images and the real-only detectors.
        device: where to compute.

    Raises:
        ConfigError: an unknown detector.
    """

    def __init__(
        self, cohort: ScoredCohort, scoring: ScoringSettings, trainables: Trainables, cache: Path, device: torch.device
    ) -> None:
        self.scoring = scoring
        self.device = device
        self._maker = ReferenceMaker(cohort, scoring, trainables, cache, device)
        self._made: tuple[DataView, Reference] | None = None

    @property
    def fid_features(self) -> str:
        """The extractor of the view scored last (of the plain view before any), `name:hash12`."""
        return (self._made[1] if self._made else self.reference(DataView())).extractor.name

    def reference(self, view: DataView) -> Reference:
        """What trials with this data view are compared with; made, or read from the cache, when first needed.

        Raises:
            CohortError: a split with fewer than two images, or without a class.
            ConfigError: a feature extractor that cannot be used.
        """
        if self._made is None or self._made[0] != view:
            self._made = None  # one view at a time, for memory
            self._made = (view, self._maker.make(view, World.current(self.device)))
        return self._made[1]

    def score(self, sampler: Sampler, config: TrialConfig, iteration: int = 0) -> dict[str, float]:
        """All scores of a trial at one of its reports; a function of its arguments alone.

        Args:
            sampler: draws from the trial's generator.
            config: the trial's configuration (data view, synthetic ratio, sample filter, seed).
            iteration: of the generator; each report draws fresh samples.

        Returns:
            The metrics that are marked `trial` in the registry, by what they take:

            - of features, against the training images; with `_floor`, the same of the validation images, and of a
              metric that depends on the number of images `_matched`, of as many samples as the floor has images;
            - of answers, where there is more than one class: means over the detectors, on validation images; the same
              with `_real_only`, of detectors trained on real images alone, and `_difference`;
            - of the classes that the real-only detectors see in the samples: means over classes, then over these;
            - of pairs, of fusions and of images what `paired_scores` gives, of families that answer pairs;
            - of masks, of families that draw them: means over the segmenters, on validation images with a lesion, with
              `_real_only` and `_difference`.

        A family that makes some classes only is asked for these alone, and compared with real images of these alone;
        detectors and segmenters then get real images of the others. Of a family whose samples have no label detectors
        learn nothing: its arm is the real-only one, every difference is 0 and there is no `lesion_fidelity`.

        Raises:
            Diverged: samples that are not finite.
        """
        real = self.reference(config.data)
        world = World.current(self.device)
        trainables = self._maker.trainables
        made = torch.tensor(trainables.classes_made(config, real.spec))
        labels = _wanted_labels(real, made, self.scoring.samples)
        samples = self._draw(sampler, labels, (config.seed, iteration), real, world)
        scores = self._realism(real, made, samples.images[: self.scoring.samples], world)
        if real.baseline is not None:
            labelled = bool(trainables.classes_labelled(config, real.spec))
            scores |= self._downstream(real, real.baseline, samples if labelled else None, config, world)
        outlined = real.val.masks is not None and bool(real.val.masks.any())  # else there is nothing to be right about
        if samples.masks is not None and outlined and self.scoring.segmenter_steps:
            scores |= self._segmentation(real, samples, config, world)
        scores |= self._held_out(sampler, real, config)
        return world.broadcast(scores)

    def _held_out(self, sampler: Sampler, real: Reference, config: TrialConfig) -> dict[str, float]:
        family = self._maker.trainables.gans.get(config.family)
        task = family.paired_task(config, real.val) if isinstance(family, AnswersPairs) else None
        return paired_scores(sampler, task, real.val.labels) if task else {}

    def _draw(
        self, sampler: Sampler, labels: Tensor, report: tuple[int, int], real: Reference, world: World
    ) -> ImageSet:
        """Samples for `labels`, with masks where the family draws them beside the image.

        Args:
            sampler: of the generator.
            labels: `[n]` wanted classes.
            report: the trial's seed and the report's iteration.
            real: what the samples are compared with.
            world: the workers that share the drawing.

        Raises:
            Diverged: samples that are not finite.
        """
        spec = real.spec
        starts = world.mine(range(0, len(labels), CHUNK))

        def draw(start: int) -> Tensor:
            return sampler(Condition(labels[start : start + CHUNK]), report_seed(*report, start))

        parts = world.checked(lambda: [(start, draw(start)) for start in starts])
        # The first worker always has a part; others may have none.
        channels = world.broadcast(parts[0][1].shape[1] if parts else 0)
        drawn = world.assembled(parts, torch.zeros(len(labels), channels, spec.size, spec.size))
        if not drawn.isfinite().all():
            raise Diverged("samples are not finite")
        images = drawn[:, : spec.channels]
        masks = drawn[:, spec.channels :]
        return ImageSet(images, labels, (masks > 0).float() if masks.shape[1] else None)

    def _realism(self, real: Reference, made: Tensor, images: Tensor, world: World) -> dict[str, float]:
        size = real.extractor.batch
        parts = (
            (start, real.extractor.features(images[start : start + size]))
            for start in world.mine(range(0, len(images), size))
        )
        fake = world.assembled(parts, real.train_features.new_zeros(len(images), real.train_features.shape[1]))
        train = real.train_features[torch.isin(real.train.labels, made)]
        val = real.val_features[torch.isin(real.val.labels, made)]
        scores: dict[str, float] = {}
        for name, metric in metrics_of("features", trial=True).items():
            scores[name] = metric.compute(train, fake)
            floor = val
            if metric.biased:
                matched = min(len(fake), len(val))
                scores[f"{name}_matched"] = metric.compute(train, _spread(fake, matched))
                floor = _spread(val, matched)
            scores[f"{name}_floor"] = metric.compute(train, floor)
        return scores

    def _downstream(
        self, real: Reference, baseline: Baseline, samples: ImageSet | None, config: TrialConfig, world: World
    ) -> dict[str, float]:
        """What detectors gain by `samples`; None: samples without a label, from which none learns."""
        real_only = _answer_scores(baseline.probabilities, real)
        if samples is None:
            return _compared(real_only, real_only)
        seen = predict(baseline.detectors, samples.images, self.device).mean(0)
        recognition = _recognition(seen, samples.labels)

        def features() -> tuple[Tensor, Tensor, Tensor]:
            return real.extractor.features(samples.images), real.train_features, real.train.labels

        used = filtered(samples, config.sample_filter, seen=seen, features=features)
        probabilities = self._with_samples(real, baseline, used, fraction_of_ratio(config.synthetic_ratio), world)
        return _compared(_answer_scores(probabilities, real), real_only) | recognition

    def _with_samples(
        self, real: Reference, baseline: Baseline, samples: ImageSet, synthetic_fraction: float, world: World
    ) -> Tensor:
        """Probabilities `[s, n_val, classes]` of detectors trained on real and synthetic images."""
        if synthetic_fraction == 0 or not len(samples):
            return baseline.probabilities  # the real-only arm itself
        seeds = world.mine(range(self.scoring.detector_seeds))

        recipe = baseline.recipe

        def trained() -> Iterator[tuple[int, Tensor]]:
            detectors = train_detectors(recipe, real.train, samples, synthetic_fraction, seeds, self.device)
            for seed, detector in zip(seeds, detectors, strict=True):
                yield seed, predict([detector], real.val.images, self.device)

        return world.assembled(trained(), torch.zeros_like(baseline.probabilities))

    def _segmentation(self, real: Reference, samples: ImageSet, config: TrialConfig, world: World) -> dict[str, float]:
        """Scores of segmenters trained on real and generated pairs, beside those trained on real pairs alone."""
        recipe, real_only = self._maker.segmenters(config.data, real, world)
        fraction = fraction_of_ratio(config.synthetic_ratio)
        with_samples = real_only
        if fraction:
            seeds = world.mine(range(len(real_only)))

            def trained() -> Iterator[tuple[int, Tensor]]:
                segmenters = train_segmenters(recipe, real.train, samples, fraction, seeds, self.device)
                for seed, segmenter in zip(seeds, segmenters, strict=True):
                    yield seed, mask_scores([segmenter], real.val, self.device)

            with_samples = world.assembled(trained(), torch.zeros_like(real_only))
        names = metrics_of("masks", trial=True)
        means = ({name: float(one[:, i].mean()) for i, name in enumerate(names)} for one in (with_samples, real_only))
        return _compared(*means)


def _wanted_labels(real: Reference, made: Tensor, n: int) -> Tensor:
    """Labels to ask for: n in the proportions of the training images, then what class-balanced batches need besides.

    Of the classes `made` only.

    The first n are for distances: a distance to the training images must not be due to other proportions. The rest
    bring every class up to n / classes.
    """
    classes = len(real.spec.classes)
    labels = real.train.labels
    proportional = _spread(labels[torch.isin(labels, made)].sort().values, n)
    short = (n // classes - torch.bincount(proportional, minlength=classes)).clamp(min=0)
    return torch.cat([proportional, made.repeat_interleave(short[made])])


def _spread(rows: Tensor, n: int) -> Tensor:
    """N of the rows at equal distances, so that every class of sorted rows is met; some again where n exceeds them."""
    return rows[torch.linspace(0, len(rows) - 1, n).round().long()]


def _answer_scores(probabilities: Tensor, real: Reference) -> dict[str, float]:
    """Scores of detectors with these probabilities `[s, n_val, classes]` for the validation images."""
    answers = Predictions(probabilities.numpy(), real.val.labels.numpy(), real.val.patients, real.positive)
    return {
        name: mean_over_trainings(metric.compute, answers) for name, metric in metrics_of("answers", trial=True).items()
    }


def _recognition(seen: Tensor, labels: Tensor) -> dict[str, float]:
    """Scores of the class probabilities `seen` `[n, classes]` in samples of the wanted `labels` `[n]`."""
    scores: dict[str, float] = {}
    for name, metric in metrics_of("classes", trial=True).items():
        values = metric.compute(seen, labels)
        by_class = [values[labels == c].mean() for c in labels.unique()]
        scores[name] = float(torch.stack(by_class).mean())
    for name, metric in metrics_of("class probabilities", trial=True).items():
        scores[name] = metric.compute(seen)
    return scores


def _compared(with_samples: dict[str, float], real_only: dict[str, float]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, value in with_samples.items():
        scores[name] = value
        scores[f"{name}_real_only"] = real_only[name]
        scores[f"{name}_difference"] = value - real_only[name]
    return scores


def paired_scores(sampler: Sampler, task: PairedTask, labels: Tensor, seed: int = 0) -> dict[str, float]:
    """Scores of a translator's answers, and beside each that of the baseline which takes no model.

    Args:
        sampler: draws from the trial's generator.
        task: held-out sources and what they should become, from the family's `paired_task`.
        labels: `[n]` classes of the held-out images.
        seed: of families that draw noise besides.

    Returns:
        Means over images, of pairs (with two targets, which are to be united, means over both), of fusions where there
        are two targets, and of the images alone; and each with `_baseline`. A mean that is not finite (PSNR of equal
        images, correlations of constant ones) is left out, and metrics that need larger images.
    """
    answers = sampler(Condition(labels, task.sources), seed)[:, : task.baseline.shape[1]]
    targets = [target.cpu() for target in task.targets]
    scores = _scores(answers.cpu(), targets)
    scores |= {f"{name}_baseline": value for name, value in _scores(task.baseline.cpu(), targets).items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _scores(images: Tensor, targets: Sequence[Tensor]) -> dict[str, float]:
    found: dict[str, Tensor] = {}
    for name, metric in metrics_of("pairs", trial=True).items():
        if images.shape[-1] >= metric.least_size and not (metric.single_target and len(targets) > 1):
            found[name] = torch.stack([metric.compute(target, images) for target in targets]).mean(dim=0)
    if len(targets) == 2:
        for name, metric in metrics_of("fusion", trial=True).items():
            found[name] = metric.compute(*targets, images)
    for name, metric in metrics_of("images", trial=True).items():
        found[name] = metric.compute(images)
    return {name: float(values.mean()) for name, values in found.items()}
