"""One synthetic image of a call of `generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.export.record import GeneratorRecord

__all__ = ["Draw"]


@dataclass(frozen=True)
class Draw:
    """One of the images that a call draws.

    Args:
        folder: the folder that the images are written to.
        record: the generator's record.
        label: the requested class.
        index: number of the image, from 0.
        total: number of images of the call.
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
        """The name of the image and of its subject: each synthetic image is a subject of its own."""
        return f"synthetic-{self.index:06d}"
