"""`generator.json`: everything needed to draw from a generator, except its weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from gansweep.config import Frozen, TrialConfig
from gansweep.contracts import ImageSpec
from gansweep.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RECORD", "WEIGHTS", "GeneratorRecord", "Need", "generator_home", "read_record"]

Need = Literal["images", "masks", "paired"]
"""Part of real training images from which samples can be made."""

RECORD = "generator.json"
WEIGHTS = "generator.safetensors"


class GeneratorRecord(Frozen):
    """Content of `generator.json`.

    Args:
        config: configuration of the trial.
        size, channels, classes, mask_channels, paired_channels: the `ImageSpec` of the networks.
        positive_class: class with the disease.
        networks: networks used for sampling, whose averaged weights are exported.
        needs: parts of real images from which samples are made (`generate --cohort`); empty if samples come from noise
            alone.
        draws_masks: whether each image has a lesion mask.
        modality: DICOM modality of the training images, or `raster`.
        window: intensity window of the training images, as in `cohort.json`.
        weights_sha256: hash of `generator.safetensors`.
        trial_id: the trial; empty after a production training.
        cohort_hash: content hash of the training's cohort.
        iteration, images_seen: length of the training.
        gansweep_version: version that wrote the file.
        format: version of this format.
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
        """Image shape of the networks."""
        positive = self.classes.index(self.positive_class)
        return ImageSpec(
            self.size, self.channels, self.classes, self.mask_channels, self.paired_channels, positive=positive
        )

    @property
    def calibrated(self) -> bool:
        """Whether the window can be inverted to scanner units; percentiles and raster images have no unit."""
        return self.modality in {"CT", "MR"} and self.window not in {"percentile", "full"}

    def to_json(self) -> str:
        """Returns the text of `generator.json`."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n"


def generator_home(folder: Path) -> Path:
    """Returns the folder with the generator's files: an export itself, or `models/` in a bundle.

    Args:
        folder: an export or a bundle.
    """
    return next((home for home in (folder, folder / "models") if (home / RECORD).is_file()), folder)


def read_record(folder: Path) -> GeneratorRecord:
    """Reads the `generator.json` of an export or a bundle.

    Args:
        folder: an export or a bundle.

    Raises:
        ExportError: the file is missing or invalid.
    """
    path = generator_home(folder) / RECORD
    try:
        return GeneratorRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise ExportError(f"no {RECORD}", where=str(folder), fix="give a folder written by `gansweep export`") from None
    except ValidationError as error:
        # The first problem is enough for a one-line message.
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ExportError(f"{key}: {first['msg']}" if key else first["msg"], where=str(path)) from None
