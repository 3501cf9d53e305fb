"""How scans become a cohort: every choice `gansweep ingest` offers, checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from gansweep.experiment import Frozen

__all__ = ["IngestSettings", "is_guess", "ordered_classes", "positive_of"]


class IngestSettings(Frozen):
    """The options of `ingest`.

    Args:
        size: pixels, height and width, of the cohort's images.
        labels: labels CSV; None: `labels.csv` in the source folder where it exists.
        window: a name or `LOW,HIGH` (see `intensity`); None: lesion for CT, percentile for MR, full for rasters.
        split: fractions of train, val and test.
        seed: of the split.
        skip_bad: leave bad files out (they are listed in rejected.parquet) instead of stopping.
        classes: take only images with these labels; None: all.
        positive: the disease's class; None: the one whose name does not say normal, else the last
            by name, with a warning.
        modality: take only images of this one (CT, MR).
        series: take only DICOM series whose description matches this pattern (`T1*`).
        label_from: the labels given, or the masks (an image with a lesion pixel is "lesion").
        label_per: whether a patient has one label, or each image its own.
        label_column: of the CSV or participants.tsv.
        split_column: of the CSV.
        paired_column: of the CSV, the image of the other kind; None: `paired` or `paired_*`.
        resplit: ignore the split that the CSV gives.
        plane: how volumes are cut.
        slices: at most so many from each volume or series; None: see `selection`.
        grey: colour images become grey; one of them would give all the cohort's images three channels.
    """

    size: int = Field(64, ge=8, le=1024)
    labels: Path | None = None
    window: str | None = None
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = Field(0, ge=0)
    skip_bad: bool = False
    classes: tuple[str, ...] | None = None
    positive: str | None = None
    modality: str | None = None
    series: str | None = None
    label_from: Literal["labels", "mask"] = "labels"
    label_per: Literal["patient", "image"] = "patient"
    label_column: str | None = None
    split_column: str = "split"
    paired_column: str | None = None
    resplit: bool = False
    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    slices: int | None = Field(None, ge=1)
    grey: bool = False

    @field_validator("split")
    @classmethod
    def _fractions_make_a_whole(cls, split: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(split) < 0 or split[0] <= 0 or abs(sum(split) - 1) > 1e-6:
            raise ValueError("the split must be three fractions that add up to 1, the first above 0")
        return split


_NORMAL = re.compile(
    r"((control|normal|healthy|negative|absent|none|non|no|hc|cn|td|false|0)s?([ _-].*)?"
    r"|no(tumou?r|findings?|lesions?|disease|h(a?e)morrhage)"
    r"|(.*[ _-])?(non[ _-]?\w+|un(infected|affected|diseased|involved|injured|remarkable))"
    r"|.*[ _-](control|normal|negative)s?)",
    re.IGNORECASE,
)


def ordered_classes(labels: set[str]) -> tuple[str, ...]:
    """Class names in label order: those that say normal first, each part by name."""
    return tuple(sorted(labels, key=lambda name: (_NORMAL.fullmatch(name) is None, name)))


def positive_of(classes: tuple[str, ...], wanted: str | None) -> str:
    """The class that sensitivity counts.

    Raises:
        CohortError: `wanted` is no class.
    """
    from gansweep.errors import CohortError

    if wanted is not None and wanted not in classes:
        raise CohortError(f"positive class {wanted!r} is none of {', '.join(classes)}", fix="choose one of them")
    return wanted or classes[-1]


def is_guess(classes: tuple[str, ...], wanted: str | None) -> bool:
    """Whether `positive_of` had nothing to go by: of several classes, not all but one say that they are normal."""
    ill = [name for name in classes if _NORMAL.fullmatch(name) is None]
    return wanted is None and len(classes) > 1 and len(ill) != 1
