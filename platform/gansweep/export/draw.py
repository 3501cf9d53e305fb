"""One synthetic image of a `generate` call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.training.record import GeneratorRecord

__all__ = ["Draw"]


@dataclass(frozen=True)
class Draw:
    """One of the images of a call.

    Args:
        folder: folder for the images.
        record: record of the generator.
        label: requested class.
        index: number of the image, from 0.
        total: number of images in the call.
        seed: seed of the call.
    """

    folder: Path
    record: GeneratorRecord
    label: str
    index: int
    total: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the image and of its subject. Each synthetic image is its own subject."""
        return f"synthetic-{self.index:06d}"
