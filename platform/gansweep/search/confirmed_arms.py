"""A task of `confirm`: evaluates detectors with and without the samples of retrained generators on the test patients.

A generator samples as it did when the search scored it, from its checkpoint's averaged weights and state. Its samples
are used as in the search: filtered as its configuration says, and at its own synthetic ratio among others.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import torch

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.devices import exact_float32
from gansweep.distributed import World
from gansweep.files import cache_folder, read_tensors
from gansweep.scoring.arms import rival_arms, run_arms, synthetic_arms
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.networks.detectors import detector_builder
from gansweep.scoring.reference import ReferenceMaker
from gansweep.scoring.sample_filters import filtered, needs_judges
from gansweep.search.retraining import arms_path, same_cohort
from gansweep.training.restore import restore_gan
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.options import ConfirmSettings
    from gansweep.store.store import Store

__all__ = ["arms_of", "kept_arms", "samples_of"]


def kept_arms(
    store: Store,
    trainables: Trainables,
    cohort_path: Path,
    checkpoints: Sequence[str],
    settings: ConfirmSettings,
    number: int,
) -> dict[str, Tensor]:
    """Returns `arms_of`, cached in the store. An interrupted confirmation does not train the detectors again."""
    place = arms_path(checkpoints)
    digests = [hashlib.sha256(store.checkpoint(name).read_bytes()).hexdigest() for name in checkpoints]
    key = json.dumps(
        [digests, store.info.cohort.content_hash, settings.model_dump(), number, store.scoring.model_dump()]
    )
    if store.exists(place):
        try:
            kept = read_tensors(io.BytesIO(store.read_bytes(place)))
            if kept["key"] == key:
                arms: dict[str, Tensor] = kept["arms"]
                return arms
        except (ValueError, KeyError, TypeError):
            pass  # damaged: compute it again
    with exact_float32(device_here()):  # as for a trial's scores
        arms = arms_of(store, trainables, cohort_path, checkpoints, settings, number)
    buffer = io.BytesIO()
    torch.save({"key": key, "arms": arms}, buffer)
    store.write_bytes(place, buffer.getvalue())
    return arms


def arms_of(
    store: Store,
    trainables: Trainables,
    cohort_path: Path,
    checkpoints: Sequence[str],
    settings: ConfirmSettings,
    number: int,
) -> dict[str, Tensor]:
    """Returns class probabilities `[s, n, classes]` of each arm's s detectors for the n test images.

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
    )
    # Each training has its own detector seeds, so that trainings are independent.
    seeds = [settings.seed + number * settings.detector_seeds + s for s in range(settings.detector_seeds)]
    maker = ReferenceMaker(cohort, scoring, trainables, cache_folder(), device)
    parts = []
    for state, config in zip(states, configs, strict=True):
        part = samples_of(state, real, spec, trainables, settings.samples // len(states), device)
        if config.sample_filter != "none":
            part = _filtered(part, config, recipe, real, seeds, maker)
        parts.append(part)
    samples = _pooled(parts)
    # With a ratio of 0 an arm is the base itself.
    ratios = sorted({*settings.ratios, *(config.synthetic_ratio for config in configs)} - {0.0})
    if len(states) > 1:
        return synthetic_arms(recipe, real, samples, test.images, ratios=ratios, seeds=seeds, device=device)
    arms = run_arms(recipe, real, samples, test.images, ratios=ratios, seeds=seeds, device=device)
    positive = spec.classes.index(cohort.info.positive_class)
    return arms | rival_arms(
        recipe, real, test.images, rivals=settings.rivals, positive=positive, seeds=seeds, device=device
    )


def _pooled(parts: Sequence[ImageSet]) -> ImageSet:
    return ImageSet(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


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
    """
    config = TrialConfig.model_validate(state["config"])
    gan = restore_gan(config, spec, trainables, state["ema"], state["gan_state"], device)
    made = torch.tensor(trainables.classes_made(config, spec))
    labels = made[torch.arange(n) % len(made)]
    drawn = make_sampler(gan, None, real, device)(Condition(labels), config.seed)
    return ImageSet(drawn[:, : spec.channels], labels)
