"""The result of a memorisation test, as exports and stores record it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

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
