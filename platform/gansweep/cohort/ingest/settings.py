"""The options of an ingest, and which of the classes is the disease."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from gansweep.cohort.sources.relabelling import parse_map
from gansweep.config import Frozen

__all__ = ["IngestSettings", "is_guess", "ordered_classes", "positive_of"]

DEFAULT_SPLIT = (0.6, 0.2, 0.2)


class IngestSettings(Frozen):
    """The options of `gansweep ingest` and `gansweep.ingest`; each field is an option under its own name."""

    size: int = Field(64, ge=8, le=1024, description="Rows and columns of the cohort's images, in pixels.")
    labels: Path | None = Field(
        None,
        description="path,label[,patient_id,split,mask]. Default: SRC/labels.csv.",
        json_schema_extra={"metavar": "CSV"},
    )
    path_column: str | None = Field(None, description="Column of the CSV with the path. Default: path.")
    map: dict[str, str] = Field(
        default_factory=dict,
        description="Rename or join labels: Fahr=fahr, or a CSV with the columns old,new. Repeatable.",
        json_schema_extra={"metavar": "OLD=NEW"},
    )
    window: str | None = Field(
        None,
        description="Intensity window, in HU for CT: --window=-20,120.",
        json_schema_extra={"metavar": "NAME|LOW,HIGH"},
    )
    bits: int | None = Field(
        None, ge=9, le=16, description="Bits that 16-bit pictures use. 12: the value 4095 is white."
    )
    assume_hu: bool = Field(False, description="Take CT whose units the files do not give for Hounsfield units.")
    derived: bool = Field(False, description="Take derived and secondary CT and MR images, such as reformats, too.")
    keep_blank: bool = Field(False, description="Keep pictures whose pixels are all equal.")
    split: tuple[float, float, float] | None = Field(
        None,
        description="Shares of the patients. Default: 0.6,0.2,0.2.",
        json_schema_extra={"metavar": "TRAIN,VAL,TEST"},
    )
    seed: int | None = Field(None, ge=0, description="Seed of every random choice. Default: 0.")
    skip_bad: bool = Field(False, description="Leave files out that cannot be read, instead of stopping.")
    positive: str | None = Field(None, description="The disease's class, which sensitivity counts.")
    classes: tuple[str, ...] | None = Field(
        None, description="Take only images of these classes.", json_schema_extra={"metavar": "A,B"}
    )
    modality: str | None = Field(None, description="Take only images of this modality: CT, MR.")
    series: str | None = Field(None, description="Take only DICOM series with this description: 'T1*'.")
    label_from: Literal["labels", "mask"] = Field("labels", description="Take labels from the source or the masks.")
    label_per: Literal["patient", "image"] = Field("patient", description="What has one label.")
    label_column: str | None = Field(None, description="Column with the label, in the CSV or participants.tsv.")
    patient_column: str | None = Field(
        None, description="Column of the CSV with the patient. Default: patient_id, or a name like it."
    )
    split_column: str = Field("split", description="Column of the CSV with the split.")
    paired_column: str | None = Field(None, description="Column of the CSV with the image of the other kind.")
    resplit: bool = Field(False, description="Ignore the split that the CSV or the folders give.")
    drop_leaks: bool = Field(False, description="Of copies in two given splits, keep the one in test or val.")
    plane: Literal["axial", "coronal", "sagittal"] = Field("axial", description="Plane in which volumes are sliced.")
    slices: int | None = Field(None, ge=1, description="Maximum number of slices per volume or series.")
    grey: bool = Field(False, description="Make colour images grey.")

    @field_validator("map", mode="before")
    @classmethod
    def _read_map(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            value = [str(value)]
        return parse_map(value) if isinstance(value, list | tuple) else value or {}

    @field_validator("split")
    @classmethod
    def _fractions_sum_to_one(cls, split: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if split is None:
            return None
        are_fractions = min(split) >= 0 and abs(sum(split) - 1) <= 1e-6
        if not are_fractions or split[0] <= 0:
            raise ValueError("the split must be three fractions that add up to 1, the first above 0")
        return split

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Fractions of the patients in train, val and test."""
        return self.split or DEFAULT_SPLIT

    @property
    def seed_used(self) -> int:
        """The seed, 0 if the user gives none."""
        return self.seed or 0


# Class names that mean "no disease": normal, healthy_control, non-fahr, uninfected, no tumour, brain_normal, ...
_NORMAL = re.compile(
    r"((control|normal|healthy|negative|absent|none|non|no|hc|cn|td|false|0)s?([ _-].*)?"
    r"|no(tumou?r|findings?|lesions?|disease|h(a?e)morrhage)"
    r"|(.*[ _-])?(non[ _-]?\w+|un(infected|affected|diseased|involved|injured|remarkable))"
    r"|.*[ _-](control|normal|negative)s?)",
    re.IGNORECASE,
)


def ordered_classes(labels: set[str]) -> tuple[str, ...]:
    """Returns class names in label order: names that mean normal first, then the others, both sorted."""
    return tuple(sorted(labels, key=lambda name: (_means_disease(name), name)))


def positive_of(classes: tuple[str, ...], wanted: str | None) -> str:
    """Returns the class with the disease, for sensitivity.

    Args:
        classes: class names in label order.
        wanted: the class that the user named; None: the last class.

    Raises:
        CohortError: `wanted` is not a class.
    """
    from gansweep.errors import CohortError

    if wanted is not None and wanted not in classes:
        raise CohortError(f"positive class {wanted!r} is not one of {', '.join(classes)}", fix="choose one of them")
    return wanted or classes[-1]


def is_guess(classes: tuple[str, ...], wanted: str | None) -> bool:
    """Returns whether `positive_of` had to guess: not exactly one of several class names means a disease."""
    if wanted is not None or len(classes) == 1:
        return False
    diseased = [name for name in classes if _means_disease(name)]
    return len(diseased) != 1


def _means_disease(name: str) -> bool:
    return _NORMAL.fullmatch(name) is None
