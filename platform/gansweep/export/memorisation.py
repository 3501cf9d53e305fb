"""Tests every generator for memorisation of training patients before it is exported."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING

import torch

from gansweep.contracts import ImageSet
from gansweep.distributed import World
from gansweep.errors import CohortError, ConfigError, ExportError, GansweepError
from gansweep.scoring.memorisation.evidence import MemorisationEvidence
from gansweep.scoring.memorisation.examination import Memorisation, MemorisationLimits, assess
from gansweep.scoring.reference import ReferenceMaker
from gansweep.store.sheet import nearest_png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import DataView, ScoringSettings, TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.export.loading import LoadedGenerator
    from gansweep.scoring.networks.extractors import Extractor

__all__ = ["MemorisationGate"]

log = logging.getLogger(__name__)

LEAST_SAMPLES = 256
MOST_SAMPLES = 1024
"""Limit on the number of samples, which is that of the training images. Too few samples would miss rare copies."""
SEED = 0  # fixed, so that the same generator always gets the same verdict


@dataclass(frozen=True)
class MemorisationGate:
    """Tests a generator before it is exported, and stops one that memorised.

    Args:
        extractor: function that makes the feature extractor from the training images. If it raises ConfigError, figures
            in features are absent.
        keep: function that stores the picture of the nearest pairs and returns its path. The picture shows real
            patients, so it must not be part of the export, which is meant to be shared.
        allow: whether a generator passes even if it memorised.
        limits: limits of the verdict.
    """

    extractor: Callable[[ImageSet], Extractor]
    keep: Callable[[bytes], str]
    allow: bool = False
    note: Callable[[MemorisationEvidence], None] | None = None
    limits: MemorisationLimits = field(default_factory=MemorisationLimits)

    @classmethod
    def of(
        cls,
        cohort: Cohort,
        config: TrialConfig,
        scoring: ScoringSettings,
        trainables: Trainables,
        cache: Path,
        *,
        keep: Callable[[bytes], str],
        allow: bool,
    ) -> MemorisationGate:
        """Creates a gate with the feature extractor of the scores.

        Args:
            cohort: the images.
            config: configuration with the data view.
            scoring: scoring settings, with the extractor or the training steps of the cohort's own encoder.
            trainables: registries of the names in `scoring`.
            cache: folder of the encoder. If it is missing, training reproduces the same encoder.
            keep: see the class.
            allow: see the class.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        def extractor(train: ImageSet) -> Extractor:
            maker = ReferenceMaker(cohort, scoring, trainables, cache, device)
            return maker.extractor(config.data, train, World.current(device))

        return cls(extractor, keep, allow)

    def passed(self, generator: LoadedGenerator, cohort: Cohort) -> MemorisationEvidence:
        """Draws samples and compares them with training and validation patients.

        A family that makes samples from real images copies parts of its inputs, which is not memorisation. It therefore
        gets images of half of the validation patients and is compared with the other half. What its samples then reveal
        about training patients comes from its weights.

        Raises:
            ExportError: the generator memorised, and the gate does not allow that.
        """
        view = generator.record.config.data
        needs = generator.record.needs
        training = cohort.load("train", view)
        held_out = _held_out(cohort, view)
        sources = None
        if needs and held_out is not None:
            # Inputs and comparison images must not share patients.
            sources, held_out = _dealt(held_out)
        try:
            samples = _drawn(generator, sources, min(MOST_SAMPLES, max(LEAST_SAMPLES, len(training))))
        except GansweepError as error:
            found = Memorisation(reason=f"no samples from held-out images: {error.what}")
            place = ""
        else:
            origins = None if sources is None else len(set(sources.patients))
            found = self._assessed(samples, training, held_out, origins)
            place = self.keep(_picture(found, samples, training, held_out)) if found.closest else ""
        evidence = MemorisationEvidence(
            memorised=found.memorised,
            reason=found.reason,
            sources="half of the validation patients" if needs else "",
            limits=asdict(self.limits),
            counts=dict(found.counts),
            features=next((figure.features for figure in found.figures.values() if figure.features), ""),
            figures={name: figure.as_dict() for name, figure in found.figures.items()},
        )
        if self.note is not None:
            self.note(evidence)
        self._judge(found, place)
        return evidence

    def _assessed(
        self, samples: Tensor, training: ImageSet, held_out: ImageSet | None, origins: int | None
    ) -> Memorisation:
        extractor: Extractor | str
        try:
            extractor = self.extractor(training)
        except ConfigError as error:
            extractor = f"no feature extractor: {error.what}"
        return assess(samples, training, held_out, extractor, origins=origins, limits=self.limits, seed=SEED)

    def _judge(self, found: Memorisation, place: str) -> None:
        looked = f"the nearest pairs: {place}"
        if found.memorised and not self.allow:
            raise ExportError(
                f"this generator memorised training patients: {found.reason}; {looked}",
                fix="export another one, or this one all the same with --allow-memorised",
            )
        if found.memorised is None:
            log.warning("memorisation could not be checked: %s", found.reason)
        elif found.memorised:
            log.warning("exported although it memorised training patients: %s; %s", found.reason, looked)
        else:
            log.info("no sign of memorisation in %d samples; %s", found.counts["samples"], looked)


def _held_out(cohort: Cohort, view: DataView) -> ImageSet | None:
    try:
        return cohort.load("val", view)
    except CohortError:
        return None


def _drawn(generator: LoadedGenerator, sources: ImageSet | None, n: int) -> Tensor:
    """Draws samples `[n, C, H, W]`, without the masks that some families draw."""
    return replace(generator, data=sources).sample(n, seed=SEED)[:, : generator.record.channels]


def _dealt(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Splits images into two halves by patient, with the classes divided evenly."""
    # Sorted by class and hash, so that the halves do not depend on the order of images.
    label = dict(zip(images.patients, images.labels.tolist(), strict=True))
    ordered = sorted(label, key=lambda name: (label[name], name))
    first = set(ordered[::2])
    in_first = torch.tensor([name in first for name in images.patients])
    return _rows(images, in_first), _rows(images, ~in_first)


def _rows(images: ImageSet, kept: Tensor) -> ImageSet:
    return ImageSet(
        images=images.images[kept],
        labels=images.labels[kept],
        masks=None if images.masks is None else images.masks[kept],
        patients=tuple(compress(images.patients, kept.tolist())),
        paired=None if images.paired is None else images.paired[kept],
    )


def _picture(found: Memorisation, samples: Tensor, training: ImageSet, held_out: ImageSet | None) -> bytes:
    pairs = found.closest
    columns = {
        "generated": samples[[pair.sample for pair in pairs]],
        "training": training.images[[pair.training for pair in pairs]],
    }
    unseen = [pair.held_out for pair in pairs if pair.held_out is not None]
    if held_out is not None and len(unseen) == len(pairs):
        columns["held out"] = held_out.images[unseen]
    captions = [f"{pair.ratio:.2f} copy" if pair.ratio < 1 else f"{pair.ratio:.2f}" for pair in pairs]
    return nearest_png(columns, captions)
