"""The gate of every export: does the generator give away the patients it was trained on?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from gansweep.contracts import ImageSet
from gansweep.errors import CohortError, ConfigError, ExportError, GansweepError
from gansweep.experiment import Frozen
from gansweep.scoring.memorisation import Memorisation, MemorisationLimits, assess
from gansweep.scoring.reference import ReferenceMaker
from gansweep.scoring.shares import Shares
from gansweep.store.sheet import nearest_png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from gansweep.cohort.dataset import Cohort
    from gansweep.contracts import Trainables
    from gansweep.experiment import DataView, ScoringSettings, TrialConfig
    from gansweep.export.loading import LoadedGenerator
    from gansweep.scoring.extractors import Extractor

__all__ = ["MemorisationEvidence", "MemorisationGate"]

LEAST_SAMPLES, MOST_SAMPLES = 256, 1024
"""Samples drawn: as many as there are training images, between these. Fewer could not show what many patients leak."""
SEED = 0


class MemorisationEvidence(Frozen):
    """What an export says about memorisation.

    Args:
        memorised: whether a figure is over its limit; None: not checked.
        reason: which figure is, or why it was not checked.
        sources: whose images the samples that were checked were made from; empty where they come from noise.
        limits: of the verdict.
        counts: training and held-out images and patients, samples.
        features: extractor behind the figures in features, `name:hash12`; empty without one.
        figures: by name: value, interval, sizes, and the reason where one is absent.
    """

    memorised: bool | None = None
    reason: str = "no check was asked for"
    sources: str = ""
    limits: dict[str, float] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    features: str = ""
    figures: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True)
class MemorisationGate:
    """Examines a generator before it is exported, and stops one that memorised.

    Args:
        extractor: the extractor of features, from the training images; where it raises ConfigError there are no figures
            in features.
        keep: puts the picture of the nearest pairs, which shows real patients' images, where such images may lie, and
            says where that is. Never into the export, which is made to be passed on.
        say: told the result in one line.
        allow: exports a generator that memorised all the same.
        limits: of the verdict.
    """

    extractor: Callable[[ImageSet], Extractor]
    keep: Callable[[bytes], str]
    say: Callable[[str], None]
    allow: bool = False
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
        say: Callable[[str], None],
        allow: bool,
    ) -> MemorisationGate:
        """The gate that looks at features with the extractor that scores were computed with.

        Args:
            cohort: the images.
            config: whose data view they are looked at in.
            scoring: names the extractor, or says how long the cohort's own encoder is trained.
            trainables: what `scoring` names.
            cache: where the encoder is kept; not there, it is trained again, and is the same.
            keep: see the class.
            say: see the class.
            allow: see the class.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        def extractor(train: ImageSet) -> Extractor:
            maker = ReferenceMaker(cohort, scoring, trainables, cache, device)
            return maker.extractor(config.data, train, Shares.current(device))

        return cls(extractor, keep, say, allow)

    def passed(self, generator: LoadedGenerator, cohort: Cohort) -> MemorisationEvidence:
        """Draws from the generator and compares the samples with training and validation patients.

        A family that makes its samples from real images would be found to copy whatever it is given. It is given
        images of one half of the validation patients, and judged against the other half: what it then shows of
        training patients comes out of its weights.

        Raises:
            ExportError: it memorised, and this is not allowed.
        """
        view, needs = generator.record.config.data, generator.record.needs
        training, held_out = cohort.load("train", view), _held_out(cohort, view)
        sources = None
        if needs and held_out is not None:
            sources, held_out = _dealt(held_out)
        try:
            samples = _drawn(generator, sources, min(MOST_SAMPLES, max(LEAST_SAMPLES, len(training))))
        except GansweepError as error:
            found, place = Memorisation(reason=f"no samples from held-out images: {error.what}"), ""
        else:
            origins = None if sources is None else len(set(sources.patients))
            found = self._assessed(samples, training, held_out, origins)
            place = self.keep(_picture(found, samples, training, held_out)) if found.closest else ""
        self._judge(found, place)
        return MemorisationEvidence(
            memorised=found.memorised,
            reason=found.reason,
            sources="half of the validation patients" if needs else "",
            limits=asdict(self.limits),
            counts=dict(found.counts),
            features=next((figure.features for figure in found.figures.values() if figure.features), ""),
            figures={name: figure.as_dict() for name, figure in found.figures.items()},
        )

    def _assessed(
        self, samples: Tensor, training: ImageSet, held_out: ImageSet | None, origins: int | None
    ) -> Memorisation:
        try:
            extractor, missing = self.extractor(training), ""
        except ConfigError as error:
            extractor, missing = None, f"no feature extractor: {error.what}"
        return assess(
            samples, training, held_out, extractor, missing=missing, origins=origins, limits=self.limits, seed=SEED
        )

    def _judge(self, found: Memorisation, place: str) -> None:
        looked = f"the nearest pairs: {place}"
        if found.memorised and not self.allow:
            raise ExportError(
                f"this generator memorised training patients: {found.reason}; {looked}",
                fix="export another one, or this one all the same with --allow-memorised",
            )
        if found.memorised is None:
            self.say(f"memorisation could not be checked: {found.reason}")
        elif found.memorised:
            self.say(f"exported although it memorised training patients: {found.reason}; {looked}")
        else:
            self.say(f"no sign of memorisation in {found.counts['samples']} samples; {looked}")


def _held_out(cohort: Cohort, view: DataView) -> ImageSet | None:
    try:
        return cohort.load("val", view)
    except CohortError:
        return None


def _drawn(generator: LoadedGenerator, sources: ImageSet | None, n: int) -> Tensor:
    """`[n, C, H, W]` samples, without the masks that some families draw beside them."""
    data = None if sources is None else sources.to(generator.device)
    return replace(generator, data=data).sample(n, seed=SEED)[:, : generator.record.channels]


def _dealt(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The images of every other patient, and of the rest; each class dealt out evenly."""
    label = dict(zip(images.patients, images.labels.tolist(), strict=True))
    first = set(sorted(label, key=lambda name: (label[name], name))[::2])
    mine = torch.tensor([name in first for name in images.patients])
    return _rows(images, mine), _rows(images, ~mine)


def _rows(images: ImageSet, kept: Tensor) -> ImageSet:
    masks, paired = (None if part is None else part[kept] for part in (images.masks, images.paired))
    patients = tuple(name for name, is_kept in zip(images.patients, kept.tolist(), strict=True) if is_kept)
    return ImageSet(images.images[kept], images.labels[kept], masks, patients, paired)


def _picture(found: Memorisation, samples: Tensor, training: ImageSet, held_out: ImageSet | None) -> bytes:
    pairs = found.closest
    columns = {
        "generated": samples[[pair.sample for pair in pairs]],
        "training": training.images[[pair.training for pair in pairs]],
    }
    unseen = [pair.held_out for pair in pairs if pair.held_out is not None]
    if held_out is not None and len(unseen) == len(pairs):
        columns["held out"] = held_out.images[unseen]
    return nearest_png(columns, [f"{pair.ratio:.2f}{' copy' if pair.ratio < 1 else ''}" for pair in pairs])
