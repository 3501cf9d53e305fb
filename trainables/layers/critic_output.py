"""The return value of every critic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CriticOutput"]


@dataclass(frozen=True)
class CriticOutput:
    """Scores, class logits and features of a batch of images.

    Args:
        scores: `[b]`, or `[b, patches]` of a patch critic; higher for real images.
        classes: `[b, K]` class logits if the critic has a classifier head, else None.
        features: output of each of the critic's blocks, the first one first.
    """

    scores: Tensor
    classes: Tensor | None = None
    features: list[Tensor] = field(default_factory=list)

    def split(self, rows: int) -> tuple[CriticOutput, CriticOutput]:
        """Splits the batch after the first `rows` images."""
        first = CriticOutput(
            self.scores[:rows],
            None if self.classes is None else self.classes[:rows],
            [feature[:rows] for feature in self.features],
        )
        rest = CriticOutput(
            self.scores[rows:],
            None if self.classes is None else self.classes[rows:],
            [feature[rows:] for feature in self.features],
        )
        return first, rest
