"""Reference of all trials with one data view: real images, their features, and real-only detectors.

A reference is computed once per cohort and view. It is cached in a folder, under keys that change with everything that
its content depends on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from gansweep.cache import key
from gansweep.errors import CohortError
from gansweep.scoring.metrics.registry import metrics_of
from gansweep.scoring.networks import detection, encoder, segmentation
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.networks.detectors import detector_builder
from gansweep.scoring.networks.extractors import Extractor, content_hash, load_extractor
from gansweep.scoring.networks.segmentation import predicted_masks, segmenter_recipe, train_segmenters, with_lesion
from gansweep.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gansweep.config import DataView, ScoringSettings
    from gansweep.contracts import ImageSet, ImageSpec, Trainables
    from gansweep.distributed import World

__all__ = ["Reference", "ReferenceMaker", "ScoredCohort", "mask_scores"]

log = logging.getLogger(__name__)


class ScoredCohort(Protocol):
    """The parts of a cohort that scoring needs."""

    @property
    def content_hash(self) -> str:
        """Hash that identifies the data."""

    @property
    def info(self) -> Any:
        """Information about the cohort, with `positive_class`."""

    def spec(self, view: DataView | None = None) -> ImageSpec:
        """Returns the shape of the images."""

    def load(self, split: Literal["train", "val"], view: DataView | None = None) -> ImageSet:
        """Loads the images of a split."""


@dataclass(frozen=True)
class Baseline:
    """Detectors trained on real images alone.

    Args:
        recipe: training recipe of these and of all other detectors.
        detectors: one detector per seed, in evaluation mode.
        probabilities: class probabilities for the validation images, `[s, n_val, classes]`.
    """

    recipe: Recipe
    detectors: tuple[nn.Module, ...]
    probabilities: Tensor


@dataclass(frozen=True)
class Reference:
    """What trials with one data view are compared with.

    Args:
        spec: shape of the images.
        positive: index of the positive class.
        train: real training images.
        val: real validation images.
        extractor: feature extractor.
        train_features: features `[n_train, d]`.
        val_features: features `[n_val, d]`.
        baseline: real-only detectors; None if there is a single class, and so nothing to detect.
    """

    spec: ImageSpec
    positive: int
    train: ImageSet
    val: ImageSet
    extractor: Extractor
    train_features: Tensor
    val_features: Tensor
    baseline: Baseline | None


@dataclass(frozen=True)
class ReferenceMaker:
    """Computes references or reads them from the cache.

    Args:
        cohort: the images.
        scoring: scoring settings.
        trainables: registry with the detector's name.
        cache: cache folder.
        device: device for computations.

    Raises:
        ConfigError: the detector is unknown, or lacks the file that it needs.
    """

    cohort: ScoredCohort
    scoring: ScoringSettings
    trainables: Trainables
    cache: Path
    device: torch.device

    def __post_init__(self) -> None:
        detector_builder(self.scoring, self.trainables, self.cohort.spec())

    def make(self, view: DataView, world: World, execution: str = "auto") -> Reference:
        """Returns the reference of a data view. All workers must call it together.

        Args:
            view: the data view.
            world: the workers.
            execution: how updates of the detectors run on a GPU: see `TrialConfig.execution`.

        Raises:
            CohortError: a split has fewer than two images, or lacks a class.
            ConfigError: the feature extractor cannot be used.
        """
        spec = self.cohort.spec(view)
        train, val = world.checked(lambda: (self._load("train", view), self._load("val", view)))
        base = {"cohort": self.cohort.content_hash, "view": view.model_dump()}
        extractor = self.extractor(view, train, world)
        features = world.cached(
            self.cache / f"features-{key(**base, extractor=extractor.name)}.pt",
            lambda: {"train": extractor.features(train.images), "val": extractor.features(val.images)},
        )
        baseline = self._baseline(base, spec, train, val, world, execution) if len(spec.classes) > 1 else None
        positive = spec.classes.index(self.cohort.info.positive_class)
        return Reference(spec, positive, train, val, extractor, features["train"], features["val"], baseline)

    def extractor(self, view: DataView, train: ImageSet, world: World) -> Extractor:
        """Returns the feature extractor of a data view. All workers must call it together.

        Args:
            view: the data view.
            train: training images of the view, on which the cohort's own encoder is trained.
            world: the workers.

        Raises:
            ConfigError: the extractor cannot be used.
        """
        path = self.scoring.features
        if not path:
            return self._encoder(view, train, world)
        return world.checked(lambda: load_extractor(path, self.device))

    def segmenters(
        self, view: DataView, real: Reference, world: World, execution: str = "auto"
    ) -> tuple[Recipe, Tensor]:
        """Returns the training recipe of segmenters, and the `mask_scores` of segmenters trained on real pairs alone.

        Args:
            view: the data view.
            real: its reference.
            world: the workers.
            execution: how updates run on a GPU: see `TrialConfig.execution`.

        Raises:
            ConfigError: the segmenter is unknown, or does not support this image size.
            CohortError: no validation image has a lesion.
        """
        settings = self.scoring
        recipe = replace(segmenter_recipe(settings, self.trainables, real.spec), execution=execution)
        seeds = range(settings.detector_seeds)
        base = {"cohort": self.cohort.content_hash, "view": view.model_dump(), "batch": settings.detector_batch}
        network = {"network": _network(recipe, real.spec), "steps": recipe.steps, "seeds": len(seeds)}
        names = list(metrics_of("masks", trial=True))

        def make() -> Tensor:
            log.info("training %d real-only segmenters, once per cohort and view", len(seeds))
            mine = world.mine(seeds)

            def trained() -> Iterator[tuple[int, Tensor]]:
                segmenters = train_segmenters(recipe, real.train, None, 0.0, mine, self.device)
                for seed, segmenter in zip(mine, segmenters, strict=True):
                    yield seed, mask_scores([segmenter], real.val, self.device)

            count = int(with_lesion(real.val).sum())
            return world.assembled(trained(), torch.zeros(len(seeds), len(names), count))

        path = self.cache / f"segmenters-{key(**base, **network, metrics=names, version=segmentation.VERSION)}.pt"
        found: Tensor = world.cached(path, make, together=True)
        return recipe, found

    def _load(self, split: Literal["train", "val"], view: DataView) -> ImageSet:
        found = self.cohort.load(split, view)
        missing = []
        for label, name in enumerate(self.cohort.spec(view).classes):
            if not (found.labels == label).any():
                missing.append(name)
        fix = "ingest with a --split that leaves it more patients"
        if missing:
            raise CohortError(f"the {split} split has no image of {', '.join(missing)}", fix=fix)
        if len(found) < 2:
            raise CohortError(f"one {split} image only", fix=fix)
        return found

    def _encoder(self, view: DataView, train: ImageSet, world: World) -> Extractor:
        steps = self.scoring.encoder_steps
        classes = len(self.cohort.spec(view).classes)

        def make() -> dict[str, Tensor]:
            log.info("training the cohort's encoder: %d steps, once per cohort and view", steps)
            return _on_cpu(encoder.train_encoder(train, classes, steps, self.device))

        base = {"cohort": self.cohort.content_hash, "view": view.model_dump()}
        path = self.cache / f"encoder-{key(**base, steps=steps, version=encoder.VERSION)}.pt"
        return encoder.extractor_of(world.cached(path, make), self.device)

    def _baseline(
        self, base: dict[str, Any], spec: ImageSpec, train: ImageSet, val: ImageSet, world: World, execution: str
    ) -> Baseline:
        settings = self.scoring
        build = detector_builder(settings, self.trainables, spec)
        recipe = Recipe(
            build,
            len(spec.classes),
            settings.detector_steps,
            settings.detector_batch,
            augmentation=settings.detector_augmentation,
            use=settings.synthetic_use,
            execution=execution,
        )
        seeds = range(settings.detector_seeds)

        def make() -> dict[str, Any]:
            log.info("training %d real-only detectors, once per cohort and view", len(seeds))
            mine = world.mine(seeds)
            detectors = world.checked(lambda: train_detectors(recipe, train, None, 0.0, mine, self.device))
            trained = dict(zip(mine, detectors, strict=True))
            parts = ((seed, predict([detector], val.images, self.device)) for seed, detector in trained.items())
            like = torch.zeros(len(seeds), len(val), recipe.classes)
            states = world.merged({seed: _on_cpu(detector) for seed, detector in trained.items()})
            return {"states": states, "probabilities": world.assembled(parts, like)}

        path = self.cache / f"baseline-{key(**base, **self._detector_key(recipe, spec))}.pt"
        found = world.cached(path, make, together=True)
        detectors = tuple(_restored(recipe, found["states"][seed], self.device) for seed in seeds)
        return Baseline(recipe, detectors, found["probabilities"])

    def _detector_key(self, recipe: Recipe, spec: ImageSpec) -> dict[str, Any]:
        named = {"detector_steps", "detector_batch", "detector_seeds", "detector_augmentation"}
        settings = self.scoring.model_dump(include=named)
        return {**settings, "network": _network(recipe, spec), "version": detection.VERSION}


def mask_scores(segmenters: Sequence[nn.Module], images: ImageSet, device: torch.device) -> Tensor:
    """Computes a trial's mask metrics, in the registry's order, for each segmenter and each image with a lesion.

    Images without a lesion are omitted: their Dice is 1 or 0, whatever the size of the error.

    Args:
        segmenters: s segmenters in evaluation mode.
        images: real images with masks.
        device: device of the segmenters.

    Returns:
        Scores `[s, metrics, n]` for the n images that have a lesion.

    Raises:
        CohortError: the images have no masks, or none has a lesion.
    """
    marked = with_lesion(images)
    if images.masks is None or not marked.any():
        raise CohortError("no held-out image has a lesion mask", fix="ingest with a --split that leaves some")
    true = images.masks[marked].cpu()
    chosen = replace(images, images=images.images[marked])
    metrics = metrics_of("masks", trial=True).values()
    scores = []
    for segmenter in segmenters:
        predicted = predicted_masks(segmenter, chosen, device)
        scores.append(torch.stack([metric.compute(predicted, true) for metric in metrics]))
    return torch.stack(scores)


@torch.no_grad()
def _network(recipe: Recipe, spec: ImageSpec) -> str:
    """Returns an identifier of the network: a user may change a network without changing its name.

    Weights alone do not identify what the network does with them. The identifier therefore also includes the untrained
    network's outputs for two images, in evaluation and in training mode, projected on two random directions. They are
    rounded to three digits, because other numbers of threads sum in another order.
    """
    with seeded(0, torch.device("cpu")):
        untrained = recipe.build()
        weights = content_hash(untrained.state_dict())
        images = torch.rand(2, spec.channels, spec.size, spec.size) * 2 - 1
        evaluating = untrained.eval()(images).flatten(1)
        training = untrained.train()(images).flatten(1)
        outputs = torch.stack([evaluating, training])
        directions = torch.randn(outputs.shape[-1], 2)
    projected = (outputs @ directions).flatten().tolist()
    digits = " ".join(f"{value:.2e}" for value in projected)
    return f"{untrained} {weights} {digits}"


def _restored(recipe: Recipe, state: dict[str, Tensor], device: torch.device) -> nn.Module:
    with seeded(0, torch.device("cpu")):
        detector = recipe.build()
    detector.load_state_dict(state)
    return detector.to(device).eval()


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}
