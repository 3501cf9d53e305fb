"""The scores of a trial: how real its samples look, and what a detector trained with them gains on validation patients.

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
from gansweep.scoring.metrics.classification import Detection, detection_scores
from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.scoring.metrics.fusion import spatial_frequency, sum_of_correlations_of_differences
from gansweep.scoring.metrics.kernel import kernel_distance
from gansweep.scoring.metrics.paired import ms_gmsd, psnr, ssim
from gansweep.scoring.networks.detection import fraction_of_ratio, predict, recognised, train_detector
from gansweep.scoring.networks.segmentation import dice_of, train_segmenter
from gansweep.scoring.reference import Baseline, Reference, ReferenceMaker, ScoredCohort
from gansweep.seeds import report_seed

if TYPE_CHECKING:
    from collections.abc import Sequence
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
            `fid`, `kid` against the training images; `fid_floor`, `kid_floor` of the validation images, and
            `fid_matched` of as many samples as these (compare it with the floor: both have the same bias); and, where
            there is more than one class, `accuracy`, `sensitivity`, `specificity`, `auroc` on validation images, means
            over the detectors, the same with `_real_only` and `_difference`, and `lesion_fidelity`, the share of
            samples, averaged over classes, in which the real-only detectors see the class that was asked for. Of
            families that answer pairs also what `paired_scores` gives on the validation images; of those that draw
            masks `dice`, `dice_real_only` and `dice_difference` of segmenters on validation images with a lesion.

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
        parts = (
            (start, real.extractor.features(images[start : start + CHUNK]))
            for start in world.mine(range(0, len(images), CHUNK))
        )
        fake = world.assembled(parts, real.train_features.new_zeros(len(images), real.train_features.shape[1]))
        train = real.train_features[torch.isin(real.train.labels, made)]
        val = real.val_features[torch.isin(real.val.labels, made)]
        matched = min(len(fake), len(val))
        return {
            "fid": frechet_distance(train, fake),
            "fid_matched": frechet_distance(train, _spread(fake, matched)),
            "fid_floor": frechet_distance(train, _spread(val, matched)),
            "kid": kernel_distance(train, fake),
            "kid_floor": kernel_distance(train, val),
        }

    def _downstream(
        self, real: Reference, baseline: Baseline, samples: ImageSet | None, config: TrialConfig, world: World
    ) -> dict[str, float]:
        """What detectors gain by `samples`; None: samples without a label, from which none learns."""
        real_only = detection_scores(baseline.probabilities, real.val.labels, real.positive)
        if samples is None:
            return _compared(real_only, real_only)
        agrees = recognised(baseline.detectors, samples, self.device)
        by_class = [agrees[samples.labels == c].double().mean() for c in samples.labels.unique()]
        if config.sample_filter == "detector_agrees":
            samples = ImageSet(samples.images[agrees], samples.labels[agrees])
        probabilities = self._with_samples(real, baseline, samples, fraction_of_ratio(config.synthetic_ratio), world)
        with_samples = detection_scores(probabilities, real.val.labels, real.positive)
        return _compared(with_samples, real_only) | {"lesion_fidelity": float(torch.stack(by_class).mean())}

    def _with_samples(
        self, real: Reference, baseline: Baseline, samples: ImageSet, share: float, world: World
    ) -> Tensor:
        """Probabilities `[s, n_val, classes]` of detectors trained on real and synthetic images."""
        if share == 0 or not len(samples):
            return baseline.probabilities  # the real-only arm itself
        seeds = world.mine(range(self.scoring.detector_seeds))
        trained = ((s, train_detector(baseline.recipe, real.train, samples, share, s, self.device)) for s in seeds)
        parts = ((s, predict([detector], real.val.images, self.device)) for s, detector in trained)
        return world.assembled(parts, torch.zeros_like(baseline.probabilities))

    def _segmentation(self, real: Reference, samples: ImageSet, config: TrialConfig, world: World) -> dict[str, float]:
        """Dice of segmenters trained on real and generated pairs, beside those trained on real pairs alone."""
        recipe, real_only = self._maker.segmenters(config.data, real, world)
        share = fraction_of_ratio(config.synthetic_ratio)
        seeds = world.mine(range(len(real_only)))
        trained = ((s, train_segmenter(recipe, real.train, samples, share, s, self.device)) for s in seeds)
        parts = ((s, dice_of([one], real.val, self.device)) for s, one in trained)
        found = world.assembled(parts, torch.zeros_like(real_only)) if share else real_only
        with_samples = float(found.mean())
        base = float(real_only.mean())
        return {"dice": with_samples, "dice_real_only": base, "dice_difference": with_samples - base}


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


def _compared(with_samples: Detection, real_only: Detection) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, value, base in zip(Detection._fields, with_samples, real_only, strict=True):
        scores |= {name: value, f"{name}_real_only": base, f"{name}_difference": value - base}
    return scores


def paired_scores(sampler: Sampler, task: PairedTask, labels: Tensor, seed: int = 0) -> dict[str, float]:
    """Scores of a translator's answers, and beside each that of the baseline which takes no model.

    Args:
        sampler: draws from the trial's generator.
        task: held-out sources and what they should become, from the family's `paired_task`.
        labels: `[n]` classes of the held-out images.
        seed: of families that draw noise besides.

    Returns:
        Means over images. With one target `psnr` (dB), `ssim`, `ms_gmsd`, `spatial_frequency`; with two, which are to
        be fused, `ssim` and `ms_gmsd` (means of both targets), `scd`, `spatial_frequency`; and each with `_baseline`. A
        mean that is not finite (PSNR of equal images, correlations of constant ones) is left out, and `ms_gmsd` of
        images below 16 pixels.
    """
    answers = sampler(Condition(labels, task.sources), seed)[:, : task.baseline.shape[1]]
    targets = [target.cpu() for target in task.targets]
    scores = _scores(answers.cpu(), targets)
    scores |= {f"{name}_baseline": value for name, value in _scores(task.baseline.cpu(), targets).items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _scores(images: Tensor, targets: Sequence[Tensor]) -> dict[str, float]:
    scores = {
        "ssim": torch.stack([ssim(target, images) for target in targets]).mean(dim=0),
        "spatial_frequency": spatial_frequency(images),
    }
    if images.shape[-1] >= 16:
        scores["ms_gmsd"] = torch.stack([ms_gmsd(target, images) for target in targets]).mean(dim=0)
    if len(targets) == 1:
        scores["psnr"] = psnr(targets[0], images)
    else:
        first, second = targets
        scores["scd"] = sum_of_correlations_of_differences(first, second, images)
    return {name: float(values.mean()) for name, values in scores.items()}
