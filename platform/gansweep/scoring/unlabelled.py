"""Plain folders of images without labels, which `gansweep score` accepts as torch-fidelity and pytorch-fid do."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gansweep.cohort.sources.bids import is_bids
from gansweep.cohort.sources.source import format_of

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import ImageSet

__all__ = ["is_unlabelled", "one_label", "without_labels"]

_LABEL = "image"


def is_unlabelled(folder: Path) -> bool:
    """Returns whether a folder contains images directly, and nothing that labels them.

    Args:
        folder: the user's folder.
    """
    if not folder.is_dir() or (folder / "labels.csv").is_file() or (folder / "cohort.json").is_file():
        return False
    return not is_bids(folder) and any(path.is_file() and format_of(path) for path in folder.iterdir())


def one_label(folder: Path, table: Path) -> Path:
    """Writes a labels CSV that gives every image in a folder and its subfolders the same label.

    Args:
        folder: folder with the images.
        table: file to write.

    Returns:
        `table`.
    """
    images = [path for path in sorted(folder.rglob("*")) if format_of(path)]
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows([str(path.relative_to(folder)), _LABEL] for path in images)
    return table


def without_labels(images: ImageSet) -> ImageSet:
    """Returns the same images with a single class.

    Args:
        images: images with or without labels.
    """
    return replace(images, labels=torch.zeros_like(images.labels))
