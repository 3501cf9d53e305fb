"""Files of an exported generator: `generator.json`, all that drawing needs except weights, and those."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, ValidationError, model_validator

from gansweep.config import Frozen, TrialConfig
from gansweep.contracts import ImageSpec
from gansweep.errors import ExportError
from gansweep.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["RECORD", "STATE", "WEIGHTS", "GeneratorRecord", "Need", "generator_home", "read_record", "read_weights"]

Need = Literal["images", "masks", "paired"]
"""Part of real training images from which samples can be made."""

RECORD = "generator.json"
WEIGHTS = "generator.safetensors"
STATE = "__state__"
"""Prefix of `Gan.state` in the weights file; no network can have this name."""


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

    @model_validator(mode="after")
    def _one_positive_class(self) -> Self:
        if self.classes.count(self.positive_class) != 1 or len(set(self.classes)) < len(self.classes):
            raise ValueError("positive_class must be one of the classes, and each class is given once")
        return self

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
        return GeneratorRecord.model_validate_json(path.read_bytes())
    except OSError:
        raise ExportError(f"no {RECORD}", where=str(folder), fix="give a folder written by `gansweep export`") from None
    except ValidationError as error:
        # The first problem is enough for a one-line message.
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        what = f"{key}: {message}" if key else message
        raise ExportError(what, where=str(path), fix="export again") from None


def read_weights(folder: Path, record: GeneratorRecord) -> dict[str, dict[str, Tensor]]:
    """Reads the state dict of each network, and `Gan.state` under `STATE`.

    Args:
        folder: an export or a bundle.
        record: its record.

    Raises:
        ExportError: the file is missing, has changed since the export, or is no file of weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = generator_home(folder) / WEIGHTS
    if not path.is_file():
        raise ExportError(f"no {WEIGHTS}", where=str(path.parent), fix="export again")
    if sha256_of(path) != record.weights_sha256:
        what = "the weights have changed since the export (SHA-256 differs)"
        raise ExportError(what, where=str(path), fix="export again")
    try:
        flat = load_file(path)
    except SafetensorError:
        raise ExportError("is no file of weights", where=str(path), fix="export again") from None
    parts: dict[str, dict[str, Tensor]] = {}
    for part in (*record.networks, STATE):
        start = f"{part}."
        parts[part] = {key.removeprefix(start): value for key, value in flat.items() if key.startswith(start)}
    return parts
