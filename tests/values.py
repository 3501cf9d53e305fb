"""Values that tests of several rooms make: a sweep's options, a trial's report, a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
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
    signals: Mapping[str, float] | None = None,
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
        signals=signals or {},
    )
    return Report(progress, fid_features)


def phantom_cohort(folder: Path) -> Path:
    """A cohort in `folder`: 20 phantom patients, 2 slices each, 16 pixels."""
    write_phantom(folder / "scans", patients=20, slices=2, size=64, seed=0)
    ingest(folder / "scans", folder / "cohort", IngestSettings(size=16, labels=folder / "scans" / "labels.csv"))
    return folder / "cohort"
