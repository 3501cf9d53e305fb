"""Values that tests of several rooms make: a sweep's options, a trial's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.options import SweepOptions
from gansweep.progress import Progress, Report

if TYPE_CHECKING:
    from collections.abc import Mapping


def sweep_options(**values: Any) -> SweepOptions:
    """Valid options, with `values` in place of what a test does not care for."""
    return SweepOptions(**{"cohort": Path("c"), "storage": "s", "name": "s", "trials": 1, **values})


def report_of(
    index: int,
    final: bool = False,
    iteration: int = 0,
    images_seen: int = 0,
    losses: Mapping[str, float] | None = None,
    scores: Mapping[str, float] | None = None,
    fid_features: str = "",
) -> Report:
    """A report that took no time."""
    progress = Progress(
        index=index,
        final=final,
        iteration=iteration,
        images_seen=images_seen,
        losses=losses or {},
        scores=scores or {},
        seconds_training=0.0,
        seconds_scoring=0.0,
    )
    return Report(progress, fid_features)
