"""A task of `confirm`: evaluates networks with and without the samples of retrained generators on the test patients.

A generator samples as it did when the search scored it, from its checkpoint's averaged weights and state. Its samples
are used as in the search: filtered for detectors as its configuration says, and at its own synthetic ratio among
others. If it draws masks, segmenters are evaluated too.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.files import cache_folder, read_tensors
from gansweep.scoring.arms import rival_arms, run_arms, synthetic_arms, without_synthetic
from gansweep.scoring.mask_arms import MaskArms
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.networks.detectors import detector_builder
from gansweep.scoring.networks.segmentation import segmenter_recipe, with_lesion
from gansweep.scoring.reference import ReferenceMaker
from gansweep.scoring.sample_filters import filtered, needs_judges
from gansweep.scoring.statistics.elementary import LEAST_PATIENTS
from gansweep.search.relay import relay_log
from gansweep.search.retraining import arms_path, same_cohort
from gansweep.seeds import seeded
from gansweep.training.restore import restore_gan
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gansweep.config import ScoringSettings
    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.options import ConfirmSettings
    from gansweep.store.store import Store

__all__ = ["TrainedArms", "arms_of", "kept_arms", "samples_of", "work_name"]

_KEPT_VERSION = 3
"""Part of the key of kept arms. Increase it with every change of what `arms_of` returns."""


class TrainedArms(NamedTuple):
    """Results of the arms of one training on the test images.

    Args:
        detectors: class probabilities `[s, n, classes]` of s detectors for the n images, by arm.
        segmenters: `mask_scores` of s segmenters, `[s, metrics, m]` for the m images with a lesion, by arm; empty if
            the generator draws no masks.
        no_segmenters: why there are no segmenters although the generator draws masks; else empty.
    """

    detectors: dict[str, Tensor]
    segmenters: dict[str, Tensor]
    no_segmenters: str = ""

    def beside(self, alone: TrainedArms) -> TrainedArms:
        """Returns these arms of pooled generators after those of a single one that need no generator."""
        segmenters = without_synthetic(alone.segmenters) | self.segmenters if self.segmenters else {}
        return TrainedArms(without_synthetic(alone.detectors) | self.detectors, segmenters, self.no_segmenters)


def kept_arms(
    store: Store,
    trainables: Trainables,
    cohort_path: Path,
    checkpoints: Sequence[str],
    settings: ConfirmSettings,
    number: int,
    relay: Any,
) -> TrainedArms:
    """Returns `arms_of`, cached in the store. An interrupted confirmation trains no network again.

    `relay` is the handle of the actor that forwards lines of the log to the driver.
    """
    relay_log(relay, work_name(checkpoints))
    place = arms_path(checkpoints)
    digests = [hashlib.sha256(store.checkpoint(name).read_bytes()).hexdigest() for name in checkpoints]
    scoring = store.scoring.model_dump()
    key = json.dumps([_KEPT_VERSION, digests, store.info.cohort.content_hash, settings.model_dump(), number, scoring])
    if store.exists(place):
        try:
            kept = read_tensors(io.BytesIO(store.read_bytes(place)))
            if kept["key"] == key:
                return TrainedArms(kept["detectors"], kept["segmenters"], kept["no_segmenters"])
        except (ValueError, KeyError, TypeError):
            pass  # damaged: compute it again
    arms = arms_of(store, trainables, cohort_path, checkpoints, settings, number)
    buffer = io.BytesIO()
    torch.save({"key": key, **arms._asdict()}, buffer)
    store.write_bytes(place, buffer.getvalue())
    return arms


def work_name(checkpoints: Sequence[str]) -> str:
    """Returns the name of a task for the lines of the log."""
    return " and ".join(checkpoints)


def arms_of(
    store: Store,
    trainables: Trainables,
    cohort_path: Path,
    checkpoints: Sequence[str],
    settings: ConfirmSettings,
    number: int,
) -> TrainedArms:
    """Trains detectors and, if the generator draws masks, segmenters of each arm and evaluates them on the test images.

    Args:
        store: the sweep's store.
        trainables: registry of the names in its configurations.
        cohort_path: path of the sweep's cohort.
        checkpoints: names of the checkpoints of retrained generators with the same data view. The samples of several
            are pooled: equal parts of `settings.samples` in all. Arms without a generator are then left out, since
            those of a single one are the same.
        settings: settings of the confirmation. The configurations' own ratios are added to the ratios.
        number: index of the training among those of the same leader.

    Raises:
        CohortError: this machine has another cohort at the path, or none.
    """
    cohort = same_cohort(store, cohort_path)
    device = device_here()
    states = [store.checkpoint(name).read() for name in checkpoints]
    configs = [TrialConfig.model_validate(state["config"]) for state in states]
    scoring = store.scoring
    view = configs[0].data
    spec = cohort.spec(view)
    real = cohort.load("train", view)
    test = cohort.load_test(view)
    recipe = Recipe(
        detector_builder(scoring, trainables, spec),
        len(spec.classes),
        scoring.detector_steps,
        scoring.detector_batch,
        augmentation=scoring.detector_augmentation,
        use=scoring.synthetic_use,
        execution=configs[0].execution,
    )
    # Each training has its own detector seeds, so that trainings are independent.
    seeds = [settings.seed + number * settings.detector_seeds + s for s in range(settings.detector_seeds)]
    maker = ReferenceMaker(cohort, scoring, trainables, cache_folder(), device)
    drawn = []
    parts = []
    for state, config in zip(states, configs, strict=True):
        part = samples_of(state, real, spec, trainables, settings.samples // len(states), device)
        drawn.append(part)
        if config.sample_filter != "none":
            part = _filtered(part, config, recipe, real, seeds, maker)
        parts.append(part)
    samples = _pooled(parts)
    pairs = _pooled(drawn)
    # With a ratio of 0 an arm is the base itself.
    ratios = sorted({*settings.ratios, *(config.synthetic_ratio for config in configs)} - {0.0})
    positive = spec.classes.index(cohort.info.positive_class)
    if len(states) > 1:
        arms = synthetic_arms(recipe, real, samples, test.images, ratios=ratios, seeds=seeds, device=device)
    else:
        arms = run_arms(recipe, real, samples, test.images, ratios=ratios, seeds=seeds, device=device)
        arms |= rival_arms(
            recipe,
            real,
            test.images,
            rivals=settings.rivals,
            images=settings.samples,
            positive=positive,
            seeds=seeds,
            device=device,
        )
    if pairs.masks is None:
        return TrainedArms(arms, {})
    reason = _no_segmenters(scoring, trainables, spec, test)
    if reason:
        return TrainedArms(arms, {}, reason)
    of_segmenters = replace(segmenter_recipe(scoring, trainables, spec), execution=recipe.execution)
    evaluated = MaskArms(of_segmenters, real, test, seeds, device)
    of_masks = evaluated.synthetic_arms(pairs, ratios)
    if len(states) == 1:
        of_masks = evaluated.real_arms() | of_masks | evaluated.rival_arms(settings.rivals, positive, settings.samples)
    return TrainedArms(arms, of_masks)


def _no_segmenters(scoring: ScoringSettings, trainables: Trainables, spec: ImageSpec, test: ImageSet) -> str:
    """Returns why no verdict on segmenters is possible; empty if one is.

    The test patients are open by now, so this must not end the confirmation.
    """
    if not scoring.segmenter_steps:
        return "scoring.segmenter_steps is 0"
    marked = [] if test.masks is None else with_lesion(test).tolist()
    patients = {patient for patient, has in zip(test.patients, marked, strict=False) if has}
    if len(patients) < LEAST_PATIENTS:
        return f"{len(patients)} test patient(s) with a lesion mask, and a verdict needs {LEAST_PATIENTS}"
    try:
        with seeded(0, torch.device("cpu")):
            segmenter_recipe(scoring, trainables, spec).build()
    except ConfigError as error:
        return str(error)
    return ""


def _pooled(parts: Sequence[ImageSet]) -> ImageSet:
    """Returns the samples of all parts. They have masks if all parts have masks."""
    masks = [part.masks for part in parts if part.masks is not None]
    return ImageSet(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(masks) if len(masks) == len(parts) else None,
    )


def _filtered(
    samples: ImageSet, config: TrialConfig, recipe: Recipe, real: ImageSet, seeds: Sequence[int], maker: ReferenceMaker
) -> ImageSet:
    """The samples that the configuration's filter lets pass, as a trial's scoring would."""
    seen = None
    if needs_judges(config.sample_filter):
        judges = train_detectors(recipe, real, None, 0.0, seeds, maker.device)
        seen = predict(judges, samples.images, maker.device).mean(0)

    def features() -> tuple[Tensor, Tensor, Tensor]:
        extractor = maker.extractor(config.data, real, World())
        return extractor.features(samples.images), extractor.features(real.images), real.labels

    return filtered(samples, config.sample_filter, seen=seen, features=features)


def device_here() -> torch.device:
    """Returns the GPU that Ray assigned to this process, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def samples_of(
    state: Mapping[str, Any], real: ImageSet, spec: ImageSpec, trainables: Trainables, n: int, device: torch.device
) -> ImageSet:
    """Draws samples from a checkpoint's generator, equal to those of the training loop's sampler.

    Args:
        state: the checkpoint.
        real: training images, for families that start from one.
        spec: shape of the images.
        trainables: registry of the names in the configuration.
        n: number of samples, cycling through the classes that the family makes.
        device: device for drawing.

    Returns:
        The samples, with masks if the generator draws them.
    """
    config = TrialConfig.model_validate(state["config"])
    gan = restore_gan(config, spec, trainables, state["ema"], state["gan_state"], device)
    made = torch.tensor(trainables.classes_made(config, spec))
    labels = made[torch.arange(n) % len(made)]
    drawn = make_sampler(gan, None, real, device)(Condition(labels), config.seed)
    masks = drawn[:, spec.channels :]
    return ImageSet(drawn[:, : spec.channels], labels, (masks > 0).float() if masks.shape[1] else None)
