"""Shared parts of `repeat`, `ablate` and `confirm`: retraining configurations of a finished sweep with new seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.errors import CohortError, StoreError
from gansweep.files import cache_folder
from gansweep.search.cluster import Footprint
from gansweep.search.cohorts import place_for_workers, sweeps_cohort
from gansweep.search.worker import WorkerGroupSettings
from gansweep.search.worker_group import WorkerGroup
from gansweep.store.feasibility import constraints_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from gansweep.cohort.dataset import Cohort
    from gansweep.contracts import Trainables
    from gansweep.options import RetrainingOptions
    from gansweep.store.store import Store

__all__ = ["REPORTS", "arms_path", "ranked_leaders", "retraining_footprint", "retraining_group", "same_cohort"]

REPORTS = 1
"""A retraining reports only at its end: a score depends on the generator, not on earlier reports."""


def arms_path(checkpoints: Sequence[str]) -> str:
    """Returns the path of the arms of a training, or of trainings whose samples are pooled, by their checkpoints.

    `confirm` keeps them until it writes its result.
    """
    return f"confirm/{'+'.join(checkpoints)}-arms.pt"


def same_cohort(store: Store, cohort: str | Path | None) -> Cohort:
    """Returns the sweep's cohort: at `cohort` if it has moved, and from the storage if it is in neither place.

    Raises:
        CohortError: there is no cohort, or it is not the sweep's.
    """
    scans = sweeps_cohort(store, cohort or store.info.cohort.path)
    if scans.content_hash != store.info.cohort.content_hash:
        raise CohortError("not the cohort of this sweep", where=str(scans.path), fix="give the one it was run on")
    return scans


def ranked_leaders(store: Store, count: int, purpose: str) -> tuple[list[str], pd.DataFrame]:
    """Returns the first `count` completed configurations, best first, and all trials in order of rank.

    Args:
        store: the sweep's store.
        count: number of configurations.
        purpose: what they are needed for, for the message.

    Raises:
        StoreError: a row is damaged or missing, no trial has completed, or none that keeps the sweep's constraints.
    """
    ranked = store.ranked_trials()
    # Without a row that is damaged or missing, another trial would be the leader, and the test patients could be opened
    # for it.
    store.check_whole()
    completed = ranked[ranked["status"] == "completed"]
    if completed.empty:
        raise StoreError(f"no completed trial to {purpose}", where=store.label, fix="run more trials: --resume")
    completed = completed[completed["infeasible"] == ""]
    if completed.empty:
        what = f"no completed trial to {purpose} keeps the constraints: {constraints_text(store.info.constraints)}"
        raise StoreError(what, where=store.label, fix="run more trials: --resume")
    return [str(name) for name in completed["configuration"].drop_duplicates().head(count)], ranked


def retraining_footprint(store: Store, options: RetrainingOptions) -> Footprint:
    """Returns the resources of one training: those of the options, or else those of a trial of the sweep."""
    info = store.info
    gpus = info.gpus_per_worker if options.gpus_per_worker is None else options.gpus_per_worker
    workers = options.workers_per_trial or info.workers_per_trial
    return Footprint(workers, 1.0, gpus, options.placement, options.accelerator)


def retraining_group(
    store: Store,
    trainables: Trainables,
    cohort: Cohort,
    footprint: Footprint,
    cache: Path | None = None,
    *,
    options: RetrainingOptions,
    relay: Any,
    scored: bool = True,
) -> WorkerGroup:
    """Creates workers that train configurations of a finished sweep one after another, with the sweep's scoring.

    Args:
        store: the sweep's store.
        trainables: registry of the names in its configurations.
        cohort: the sweep's cohort.
        footprint: resources of one training.
        cache: folder for features and baselines; None: the user's cache.
        options: interval of checkpoints, and limits of a hang.
        relay: handle of the actor that forwards lines of the log to the driver.
        scored: whether to score the trainings, or only to keep their generators.
    """
    settings = WorkerGroupSettings(
        store=store.uri,
        cohort=place_for_workers(cohort),
        cache=str(cache or cache_folder()),
        trainables=trainables,
        scoring=store.scoring.with_scores(bound.score for bound in store.info.constraints),
        reports=REPORTS,
        checkpoint_seconds=60.0 * options.checkpoint_minutes,
        hang_seconds=60.0 * options.hang_minutes,
        hang_factor=options.hang_factor,
        relay=relay,
        scored=scored,
    )
    return WorkerGroup(settings, footprint)
