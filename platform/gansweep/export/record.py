"""`generator.json`: everything but the weights that drawing images from a generator takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from gansweep.contracts import ImageSpec
from gansweep.errors import ExportError
from gansweep.experiment import Frozen, TrialConfig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RECORD", "WEIGHTS", "GeneratorRecord", "Need", "generator_home", "read_record"]

Need = Literal["images", "masks", "paired"]
"""A part of real training images that samples are made from."""

RECORD, WEIGHTS = "generator.json", "generator.safetensors"


class GeneratorRecord(Frozen):
    """What a generator is, beside its weights.

    Args:
        config: the trial's configuration.
        size, channels, classes, mask_channels, paired_channels: the `ImageSpec` the networks are built with.
        positive_class: the class with the disease.
        networks: the networks whose averaged weights are kept: those that sampling uses.
        needs: what of real images samples are made from (`generate --cohort`); empty where they come from noise alone.
        draws_masks: whether each image comes with its lesion mask.
        modality: DICOM modality of the training images, or `raster`.
        window: the intensity window the images were normalised with, as in `cohort.json`.
        weights_sha256: of `generator.safetensors`.
        trial_id: the trial it comes from; empty after production training.
        cohort_hash: content hash of the cohort it was trained on.
        iteration, images_seen: how far it was trained.
        gansweep_version: what wrote this.
    """

    config: TrialConfig
    size: int = Field(ge=1)
    channels: int = Field(ge=1)
    classes: tuple[str, ...] = Field(min_length=1)
    mask_channels: int = Field(ge=0)
    paired_channels: int = Field(0, ge=0)
    positive_class: str
    networks: tuple[str, ...] = Field(min_length=1)
    needs: tuple[Need, ...] = ()
    draws_masks: bool = False
    modality: str
    window: str
    weights_sha256: str
    trial_id: str = ""
    cohort_hash: str
    iteration: int
    images_seen: int
    gansweep_version: str
    format: Literal[1] = 1

    @property
    def spec(self) -> ImageSpec:
        """The shape the networks are built for."""
        positive = self.classes.index(self.positive_class)
        return ImageSpec(
            self.size, self.channels, self.classes, self.mask_channels, self.paired_channels, positive=positive
        )

    @property
    def calibrated(self) -> bool:
        """Whether the window leads back to the scanner's own units; percentiles and raster images have none."""
        return self.modality in {"CT", "MR"} and self.window not in {"percentile", "full"}

    def to_json(self) -> str:
        """The content of `generator.json`."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n"


def generator_home(folder: Path) -> Path:
    """Where an export, or the bundle inside one, keeps its generator."""
    return next((place for place in (folder, folder / "models") if (place / RECORD).is_file()), folder)


def read_record(folder: Path) -> GeneratorRecord:
    """Reads the `generator.json` of an export or a bundle.

    Raises:
        ExportError: it is missing or is not one.
    """
    path = generator_home(folder) / RECORD
    try:
        return GeneratorRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise ExportError(f"no {RECORD}", where=str(folder), fix="name a folder made by `gansweep export`") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ExportError(f"{key}: {first['msg']}" if key else first["msg"], where=str(path)) from None
