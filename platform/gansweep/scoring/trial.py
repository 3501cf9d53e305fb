"""Scores of a trial: how realistic its samples look, and what a detector gains from them on validation patients.

The registry defines which scores these are: all metrics in `gansweep.scoring.metrics.registry.METRICS` that are marked
`trial`.

Samples are compared with the real *training* images. These are what the generator should imitate, and there are more of
them than in any other split. A generator that reproduces its training images therefore scores well here. The detector,
tested on patients that no generator has seen, and the memorisation checks reveal this. Each distance is reported with
its floor: the distance of real validation images, of other patients, to the same training images.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor

from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.contracts import AnswersPairs, Condition, ImageSet, PairedTask, Sampler, StartsFromImages
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
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from pathlib import Path

    from gansweep.contracts import Trainables

__all__ = ["TrialScorer"]

Item = TypeVar("Item")

CHUNK = 64
"""Number of samples drawn from one seed. Drawing is split over workers in chunks, whatever the number of workers."""


class TrialScorer:
    """Scores the trials of a sweep.

    Under `torch.distributed`, all workers must call `score` together. Drawing, feature extraction and detectors are
    split over the workers. Each worker gets the same scores, equal to those of a single worker.

    Args:
        cohort: the images. Only training and validation patients are used.
        scoring: scoring settings.
        trainables: registry with the detector's name.
        cache: folder for the encoder, the features of real images and the real-only detectors.
        device: device for computations.

    Raises:
        ConfigError: the detector is unknown.
    """

    def __init__(
        self, cohort: ScoredCohort, scoring: ScoringSettings, trainables: Trainables, cache: Path, device: torch.device
    ) -> None:
        self.scoring = scoring
        self.device = device
        self._maker = ReferenceMaker(cohort, scoring, trainables, cache, device)
        self._made: tuple[DataView, Reference] | None = None
        self._known: dict[Hashable, Any] = {}

    @property
    def fid_features(self) -> str:
        """Extractor of the view that was scored last, as `name:hash12`. Before any scoring, that of the plain view."""
        if self._made is None:
            return self.reference(DataView()).extractor.name
        _, reference = self._made
        return reference.extractor.name

    def reference(self, view: DataView, execution: str = "auto") -> Reference:
        """Returns the reference for this data view. Computes it or reads it from the cache when first needed.

        Args:
            view: the data view.
            execution: how updates of its detectors run on a GPU: see `TrialConfig.execution`.

        Raises:
            CohortError: a split has fewer than two images, or lacks a class.
            ConfigError: the feature extractor cannot be used.
        """
        if self._made is None or self._made[0] != view:
            self._made = None  # one view at a time, to save memory
            self._known.clear()
            self._made = (view, self._maker.make(view, World.current(self.device), execution))
        return self._made[1]

    def _once(self, what: Hashable, make: Callable[[], Item]) -> Item:
        """Returns what `make` returned at the first report with this reference. It depends on real images alone."""
        if what not in self._known:
            self._known[what] = make()
        return cast("Item", self._known[what])

    def score(self, sampler: Sampler, config: TrialConfig, iteration: int = 0) -> dict[str, float]:
        """Computes all scores of a trial at one of its reports. The result depends on the arguments alone.

        Args:
            sampler: draws samples from the trial's generator.
            config: the trial's configuration (data view, synthetic ratio, sample filter, seed).
            iteration: iteration of the generator. Each report draws new samples.

        Returns:
            The metrics that are marked `trial` in the registry, by input:

            - features: metrics against the training images; with `_floor`, the same for the validation images; for a
              metric that depends on the number of images, with `_matched`, the same for as many samples as the floor
              has images;
            - answers, if there is more than one class: means over the detectors, on validation images; with
              `_real_only`, the same for detectors trained on real images alone, and `_difference`;
            - classes that the real-only detectors assign to the samples: means over classes, then over detectors;
            - pairs, fusions and images: the results of `paired_scores`, for families that make paired images;
            - masks, for families that make them: means over the segmenters, on validation images with a lesion, with
              `_real_only` and `_difference`;
            - with `ScoringSettings.copies`, `copies_pixels` and `copies_pixels_floor`.

            A family that makes only some classes is asked for these alone, and its samples are compared with real
            images of these alone. Detectors and segmenters then get real images of the other classes. Detectors cannot
            learn from samples without labels: for such a family, the arm equals the real-only arm, every difference is
            0 and there is no `lesion_fidelity`.

        Raises:
            Diverged: samples are not finite.
        """
        real = self.reference(config.data, config.execution)
        world = World.current(self.device)
        trainables = self._maker.trainables
        made = torch.tensor(trainables.classes_made(config, real.spec))
        labels = _wanted_labels(real, made, self.scoring.samples)
        samples = self._draw(sampler, labels, (config.seed, iteration), real, world)
        scores = self._realism(real, made, samples.images[: self.scoring.samples], world)
        if real.baseline is not None:
            labelled = bool(trainables.classes_labelled(config, real.spec))
            scores |= self._downstream(real, real.baseline, samples if labelled else None, config, world)
        # Masks cannot be scored if no validation image has a lesion.
        has_lesions = real.val.masks is not None and bool(real.val.masks.any())
        if self.scoring.segmenter_steps and samples.masks is not None and has_lesions:
            scores |= self._segmentation(real, samples, config, world)
        scores |= self._held_out(sampler, real, config)
        if self.scoring.copies:
            scores |= self._copies(sampler, samples, (config.seed, iteration), real, world)
        return world.broadcast(scores)

    def _held_out(self, sampler: Sampler, real: Reference, config: TrialConfig) -> dict[str, float]:
        family = self._maker.trainables.gans.get(config.family)
        task = family.paired_task(config, real.val) if isinstance(family, AnswersPairs) else None
        return paired_scores(sampler, task, real.val.labels) if task else {}

    def _copies(
        self, sampler: Sampler, samples: ImageSet, report: tuple[int, int], real: Reference, world: World
    ) -> dict[str, float]:
        """Returns the fraction of samples that are copies of training images, and that of new patients.

        A family that makes samples from real images shows its inputs again, which is not memorisation. Its samples are
        therefore made from validation images here. What they then show of training patients comes from its weights.
        """
        # Imported here, because it needs SciPy, and measuring a GPU must not.
        from gansweep.scoring.memorisation.copied_fraction import CopiedFraction

        copied = self._once("copied", lambda: CopiedFraction.of(real.train, real.val))
        if copied is None:
            return {}
        images = samples.images
        if isinstance(sampler, StartsFromImages):
            unseen = sampler.starting_from(real.val)
            first = Condition(samples.labels[:CHUNK])
            seed = report_seed(*report, 0)
            depends_on_images = world.checked(lambda: not torch.equal(sampler(first, seed), unseen(first, seed)))
            if world.broadcast(depends_on_images):
                images = self._draw(unseen, samples.labels, report, real, world).images
        return {"copies_pixels": copied(images), "copies_pixels_floor": copied.expected}

    def _draw(
        self, sampler: Sampler, labels: Tensor, report: tuple[int, int], real: Reference, world: World
    ) -> ImageSet:
        """Draws samples for `labels`, with masks if the family makes them.

        Args:
            sampler: draws samples from the generator.
            labels: intended classes `[n]`.
            report: the trial's seed and the report's iteration.
            real: reference that the samples are compared with.
            world: the workers that share the drawing.

        Raises:
            Diverged: samples are not finite.
        """
        spec = real.spec
        starts = world.mine(range(0, len(labels), CHUNK))

        def draw(start: int) -> Tensor:
            return sampler(Condition(labels[start : start + CHUNK]), report_seed(*report, start))

        parts = world.checked(lambda: [(start, draw(start)) for start in starts])
        # The first worker always has a part; the others may have none.
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
            what = ("floor", name, tuple(made.tolist()), len(floor))
            scores[f"{name}_floor"] = self._once(what, partial(metric.compute, train, floor))
        return scores

    def _downstream(
        self, real: Reference, baseline: Baseline, samples: ImageSet | None, config: TrialConfig, world: World
    ) -> dict[str, float]:
        """Returns the scores of detectors trained with `samples`; None means samples without labels."""
        real_only = _answer_scores(baseline.probabilities, real)
        if samples is None:
            return _compared(real_only, real_only)
        seen = predict(baseline.detectors, samples.images, self.device).mean(0)
        recognition = _recognition(seen, samples.labels)

        def features() -> tuple[Tensor, Tensor, Tensor]:
            return real.extractor.features(samples.images), real.train_features, real.train.labels

        used = filtered(samples, config.sample_filter, seen=seen, features=features)
        probabilities = self._with_samples(real, baseline, used, config, world)
        return _compared(_answer_scores(probabilities, real), real_only) | recognition

    def _with_samples(
        self, real: Reference, baseline: Baseline, samples: ImageSet, config: TrialConfig, world: World
    ) -> Tensor:
        """Returns probabilities `[s, n_val, classes]` of detectors trained on real and synthetic images."""
        synthetic_fraction = fraction_of_ratio(config.synthetic_ratio)
        if synthetic_fraction == 0 or not len(samples):
            return baseline.probabilities  # this is the real-only arm
        seeds = world.mine(range(self.scoring.detector_seeds))

        recipe = replace(baseline.recipe, execution=config.execution)

        def trained() -> Iterator[tuple[int, Tensor]]:
            detectors = train_detectors(recipe, real.train, samples, synthetic_fraction, seeds, self.device)
            for seed, detector in zip(seeds, detectors, strict=True):
                yield seed, predict([detector], real.val.images, self.device)

        return world.assembled(trained(), torch.zeros_like(baseline.probabilities))

    def _segmentation(self, real: Reference, samples: ImageSet, config: TrialConfig, world: World) -> dict[str, float]:
        """Returns scores of segmenters trained on real and generated pairs, and on real pairs alone."""
        recipe, real_only = self._once(
            ("segmenters", config.execution),
            lambda: self._maker.segmenters(config.data, real, world, config.execution),
        )
        fraction = fraction_of_ratio(config.synthetic_ratio)
        with_samples = real_only
        if fraction:
            seeds = world.mine(range(len(real_only)))

            def trained() -> Iterator[tuple[int, Tensor]]:
                segmenters = train_segmenters(recipe, real.train, samples, fraction, seeds, self.device)
                for seed, segmenter in zip(seeds, segmenters, strict=True):
                    yield seed, mask_scores([segmenter], real.val, self.device)

            with_samples = world.assembled(trained(), torch.zeros_like(real_only))
        return _compared(_mask_means(with_samples), _mask_means(real_only))


def _mask_means(scores: Tensor) -> dict[str, float]:
    """Returns the mean of each mask metric in `scores` `[s, metrics, n]`."""
    names = metrics_of("masks", trial=True)
    return {name: float(scores[:, place].mean()) for place, name in enumerate(names)}


def _wanted_labels(real: Reference, made: Tensor, n: int) -> Tensor:
    """Returns the labels to draw: n in the proportions of the training images, then those for class-balanced batches.

    Only classes in `made` are included. The first n labels are for distances: a distance to the training images must
    not come from other class proportions. The rest bring every class up to n / classes.
    """
    classes = len(real.spec.classes)
    labels = real.train.labels
    proportional = _spread(labels[torch.isin(labels, made)].sort().values, n)
    short = (n // classes - torch.bincount(proportional, minlength=classes)).clamp(min=0)
    return torch.cat([proportional, made.repeat_interleave(short[made])])


def _spread(rows: Tensor, n: int) -> Tensor:
    """Returns n of the rows, evenly spaced, so that every class of sorted rows is included.

    Repeats rows if n exceeds them.
    """
    return rows[torch.linspace(0, len(rows) - 1, n).round().long()]


def _answer_scores(probabilities: Tensor, real: Reference) -> dict[str, float]:
    """Returns scores of detectors with probabilities `[s, n_val, classes]` for the validation images."""
    answers = Predictions(probabilities.numpy(), real.val.labels.numpy(), real.val.patients, real.positive)
    return {
        name: mean_over_trainings(metric.compute, answers) for name, metric in metrics_of("answers", trial=True).items()
    }


def _recognition(seen: Tensor, labels: Tensor) -> dict[str, float]:
    """Returns scores of the class probabilities `seen` `[n, classes]` for samples with the intended `labels` `[n]`."""
    scores: dict[str, float] = {}
    for name, metric in metrics_of("classes", trial=True).items():
        values = metric.compute(seen, labels)
        by_class = [values[labels == label].mean() for label in labels.unique()]
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
    """Returns scores of a translator's outputs, and of the baseline that needs no model.

    Args:
        sampler: draws samples from the trial's generator.
        task: held-out sources and their targets, from the family's `paired_task`.
        labels: classes of the held-out images `[n]`.
        seed: seed for families that also use noise.

    Returns:
        Means over images of the metrics of pairs (means over both targets, if an output combines two), of fusions if
        there are two targets, and of the images alone; each also with `_baseline`. Means that are not finite (PSNR of
        equal images, correlations of constant images) are omitted, as are metrics that need larger images.
    """
    answers = sampler(Condition(labels, task.sources), seed)[:, : task.baseline.shape[1]]
    targets = [target.cpu() for target in task.targets]
    scores = _scores(answers.cpu(), targets)
    scores |= {f"{name}_baseline": value for name, value in _scores(task.baseline.cpu(), targets).items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _scores(images: Tensor, targets: Sequence[Tensor]) -> dict[str, float]:
    found: dict[str, Tensor] = {}
    for name, metric in metrics_of("pairs", trial=True).items():
        too_small = images.shape[-1] < metric.least_size
        combines_targets = metric.single_target and len(targets) > 1
        if not too_small and not combines_targets:
            found[name] = torch.stack([metric.compute(target, images) for target in targets]).mean(dim=0)
    if len(targets) == 2:
        for name, metric in metrics_of("fusion", trial=True).items():
            found[name] = metric.compute(*targets, images)
    for name, metric in metrics_of("images", trial=True).items():
        found[name] = metric.compute(images)
    return {name: float(values.mean()) for name, values in found.items()}
