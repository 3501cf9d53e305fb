"""Draws synthetic images and writes them to files, which `gansweep ingest` can read (except for NumPy files)."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from gansweep.config import validated
from gansweep.errors import ExportError
from gansweep.export.draw import Draw
from gansweep.export.formats import CHANNELS, WRITERS, Format, write_mask
from gansweep.files import ProgressCallback, new_folder
from gansweep.options import GenerateOptions
from gansweep.training.record import RECORD, GeneratorRecord, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from gansweep.contracts import ImageSet, Trainables

__all__ = ["generate"]


def generate(
    folder: Path,
    n: int,
    out: Path,
    trainables: Trainables,
    *,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Path:
    """Draws synthetic images and writes them with a `labels.csv`, which has one row per image in drawing order.

    `png` shows the image in the training window with 8 bits per channel. `npy`, `nifti` and `dicom` contain the values
    of the training images: Hounsfield units for CT. NIfTI files of CT have `_ct` in their name, because NIfTI does not
    record the modality. Families that draw masks write them to `masks/`.

    Args:
        folder: an export or a bundle.
        n: number of images.
        out: new folder for the images.
        trainables: registries of the names in the generator's configuration.
        progress: called with (stage, images written, total images).
        **options: fields of `gansweep.options.GenerateOptions`: `format` (png, npy, nifti, dicom), `label` (class of
            all images; None: each class in turn), `seed` (equal seeds give equal files on a CPU), `cohort` (real images
            for families that start from them; its training patients are used).

    Returns:
        `out`.

    Raises:
        ExportError: `folder` has no generator, the class is unknown, or real images are needed but not given.
        ConfigError: the format is unknown.
        CohortError: `out` is not empty or cannot be written, or `cohort` is not a cohort.
    """
    from gansweep.export.loading import load_generator

    record = read_record(folder)
    chosen = validated(GenerateOptions, options, where="generate")
    _check(record, n, chosen.format)  # before the weights and the cohort are loaded
    label = None if chosen.label is None else _class_index(record, chosen.label)
    generator = load_generator(folder, trainables, data=_real_images(record, chosen.cohort))
    rows: list[dict[str, str]] = []
    with new_folder(out, "images") as draft:
        (draft / "images").mkdir()
        if record.draws_masks:
            (draft / "masks").mkdir()
        for images, wanted in generator.blocks(n, label, chosen.seed):
            for image, index in zip(images, wanted.tolist(), strict=True):
                draw = Draw(draft, record, record.classes[index], len(rows), n, chosen.seed)
                rows.append(_write(image, draw, chosen.format))
                if progress is not None:
                    progress("images", len(rows), n)
        with (draft / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        # The record says which generator made the images.
        (draft / RECORD).write_text(record.to_json(), encoding="utf-8")
    return out


def _write(image: Tensor, draw: Draw, format: Format) -> dict[str, str]:  # noqa: A002
    """Writes `[C (+ 1), H, W]` and returns its row of `labels.csv`."""
    values = image.numpy()
    channels = draw.record.channels
    row = {"path": WRITERS[format](values[:channels], draw), "label": draw.label, "patient_id": draw.name}
    if not draw.record.draws_masks:
        return row
    if len(values) == channels:
        raise ExportError(
            "the generator draws no masks, although its record says that it does", where=RECORD, fix="export again"
        )
    return {**row, "mask": write_mask(values[channels], draw)}


def _check(record: GeneratorRecord, n: int, format: Format) -> None:  # noqa: A002
    if record.channels not in CHANNELS.get(format, (record.channels,)):
        raise ExportError(f"{format} does not support {record.channels} channels", fix="use --format npy")
    if not isinstance(n, int) or n < 1:
        raise ExportError(f"{n!r} images requested", fix="request a whole number of images, at least one")


def _class_index(record: GeneratorRecord, label: str) -> int:
    if label not in record.classes:
        raise ExportError(f"no class {label!r}", fix=f"classes: {', '.join(record.classes)}")
    return record.classes.index(label)


def _real_images(record: GeneratorRecord, cohort: Path | None) -> ImageSet | None:
    if cohort is None:
        return None
    from gansweep.cohort.dataset import Cohort

    opened = Cohort.open(cohort)
    # Real images must have the size, channels and classes of the training images.
    if (spec := opened.spec(record.config.data)) != record.spec:
        raise ExportError(f"its images are {spec}, the generator's {record.spec}", where=str(cohort))
    return opened.load("train", record.config.data)
