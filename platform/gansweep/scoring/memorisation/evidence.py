"""The result of a memorisation test, as exports and stores record it."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field, field_validator

from gansweep.config import Frozen

__all__ = ["MemorisationEvidence"]


class MemorisationEvidence(Frozen):
    """Result of the memorisation test, as in an export's `evidence.json` and in a store's `memorisation/`.

    Args:
        memorised: whether a figure exceeds its limit; None: not checked.
        reason: which figure exceeds its limit, or why nothing was checked.
        sources: patients whose images the samples were made from; empty if they come from noise.
        limits: limits of the verdict.
        counts: numbers of training and held-out images and patients, and of samples.
        features: extractor of the figures in features, `name:hash12`; empty if there was none.
        figures: value, interval and sizes by name, or the reason why a figure is absent.
    """

    memorised: bool | None = None
    reason: str = "no check was asked for"
    sources: str = ""
    limits: dict[str, float] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    features: str = ""
    figures: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("figures")
    @classmethod
    def _have_intervals(cls, figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, figure in figures.items():
            if figure.get("value") is None:
                continue
            numbers = [figure.get(key) for key in ("value", "low", "high")]
            if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                raise ValueError(f"figure {name}: value, low and high must be finite numbers")
            if figure["low"] > figure["high"]:
                raise ValueError(f"figure {name}: its interval is the wrong way round")
        return figures
