"""`repeat`: retrains the leaders with new seeds and scores them on the validation patients, like every trial.

A search trains each configuration once and ranks lucky configurations as high as good ones. Repeats tell them apart.
They are rows of the sweep's table, but the Optuna study does not include them: the sampler sees each configuration
once, with the search's own training. As additional trials, they would bias TPE towards the leaders' neighbourhood.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from gansweep.errors import unknown_name
from gansweep.options import RepeatOptions
from gansweep.scoring.metrics.formatting import score_text
from gansweep.search.cluster import ray_cluster
from gansweep.search.prechecks import config_checker
from gansweep.search.relay import relayed
from gansweep.search.retraining import REPORTS, ranked_leaders, retraining_footprint, retraining_group, same_cohort
from gansweep.search.room import room_for
from gansweep.search.side_by_side import train_side_by_side
from gansweep.store.filesystem import PATIENCE_S
from gansweep.store.interims import interims_logged
from gansweep.store.schema import ReportRow, TrialRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.search.mailbox import Outcome
    from gansweep.search.worker_group import WorkerGroup
    from gansweep.store.schema import Status
    from gansweep.store.store import Store

__all__ = ["repeat"]

log = logging.getLogger(__name__)


def repeat(
    store: Store, trainables: Trainables, options: RepeatOptions | None = None, *, cache: Path | None = None
) -> list[str]:
    """Retrains the first configurations of the leaderboard until each has `repeats` new trainings.

    Trainings run in parallel, as many as fit on the cluster.

    The means of the new trainings may change the order of the leaderboard. Call it again to train a configuration that
    has moved up. A further call also continues an interrupted one and repeats failed trainings. No other training is
    repeated.

    Args:
        store: store of a sweep with completed trials.
        trainables: registry of the names in its configurations.
        options: number of configurations and trainings, and resources. Diverged trainings count, failed ones do not.
        cache: folder for features and baselines; None: the user's cache.

    Returns:
        The ids of the new trainings.

    Raises:
        StoreError: no trial has completed, or another process is working on the sweep (see `Store.exclusive`).
        CohortError: the cohort is not the sweep's.
        ConfigError: a configuration cannot be trained with these trainables or this number of workers.
        ClusterError: a training does not fit on the cluster.
        KeyboardInterrupt: the user pressed Ctrl-C. The rows of running trainings are then `interrupted`.
    """
    options = options or RepeatOptions()
    footprint = retraining_footprint(store, options)
    scans = same_cohort(store, options.cohort)
    check = config_checker(trainables, scans, workers=footprint.workers, reports=REPORTS)
    # Two processes would train the same configurations and write to the same checkpoints.
    with store.exclusive():
        store.wait_out(PATIENCE_S)
        wanted = list(_wanted(store, options))
        if not wanted:
            log.info("nothing to train: the leaders have %d fresh trainings each", options.repeats)
            return []
        for row in wanted:
            check(row.config)
        with ray_cluster(), room_for(len(wanted), footprint, options.wait_for_nodes) as room:
            start = partial(retraining_group, store, trainables, scans, footprint, cache, options=options)
            with interims_logged(store, log), relayed() as relay:
                train_side_by_side(wanted, room, partial(start, relay=relay), partial(_train, store))
        store.compact()
    return [row.trial_id for row in wanted]


def _wanted(store: Store, options: RepeatOptions) -> Iterator[TrialRow]:
    """Yields the missing trainings, as their initial rows."""
    if options.trial:
        ranked = store.ranked_trials()
        names = _configurations(ranked, options.trial)
    else:
        names, ranked = ranked_leaders(store, options.leaders, "repeat")
    for name in names:
        rows = ranked[ranked["configuration"] == name]
        used = {store.config(trial_id).seed for trial_id in rows["trial_id"]}
        fresh = rows[rows["repeat_of"].fillna("") != ""]
        # Divergence is a result of the configuration with that seed. Failures (memory, a dead group) and interruptions
        # say nothing about the configuration, so they are repeated.
        over = fresh["status"].isin(["completed", "diverged"])
        missing = max(0, options.repeats - int(over.sum()))
        again = fresh[~over].head(missing)
        for row in again.itertuples():
            yield _begun(str(row.trial_id), int(str(row.attempt)) + 1, name, store.config(str(row.trial_id)))
        seeds = range(options.seed, options.seed + options.repeats + len(used))
        free = (number for number in seeds if number not in used)
        config = store.config(name)
        for _ in range(missing - len(again)):
            number = next(free)
            yield _begun(f"{name}-{number}", 0, name, config.derive({"seed": number}))


def _configurations(ranked: pd.DataFrame, trials: Sequence[str]) -> list[str]:
    """Returns the configurations of these trials, each once.

    Raises:
        ConfigError: there is no such trial.
    """
    configurations = dict(zip(ranked["trial_id"], ranked["configuration"], strict=True))
    for trial in trials:
        if trial not in configurations:
            raise unknown_name("trial", trial, configurations, where="--trial")
    return list(dict.fromkeys(configurations[trial] for trial in trials))


def _begun(trial_id: str, attempt: int, of: str, config: TrialConfig) -> TrialRow:
    return TrialRow(trial_id, attempt, "running", config, repeat_of=of)


def _train(store: Store, group: WorkerGroup, row: TrialRow) -> None:
    log.info("trial %s, once more with seed %d", row.repeat_of, row.config.seed)
    row = replace(row, started=datetime.now(UTC), workers=group.footprint.workers)
    store.write_trial(row)
    gpus = group.footprint.gpus
    try:
        before = store.row(row.trial_id, row.attempt - 1)
        if before is None or before.status != "interrupted":
            # Failed trainings restart from scratch; interrupted ones resume.
            store.checkpoint(row.trial_id).delete()
        group.assign(row.trial_id, row.config.as_dict(), attempt=row.attempt)
        outcome = group.outcome(0)
    except BaseException as end:
        # Ctrl-C, or a node without the cohort: without this, the row would stay `running` forever.
        reason = "the repeats were interrupted" if isinstance(end, KeyboardInterrupt) else str(end)
        store.write_trial(row.finished("interrupted", reason=reason, gpus=gpus))
        raise
    objectives = [objective.name for objective in store.info.objectives]
    row = _ended(store, row, outcome, objectives, gpus)
    store.write_trial(row)
    aims = ", ".join(f"{name} {score_text(name, row.scores[name])}" for name in objectives if row.scores)
    log.info("trial %s %s: %s (%.0f s)", row.trial_id, row.status, aims or row.reason, row.seconds)


def _ended(store: Store, row: TrialRow, outcome: Outcome, objectives: Sequence[str], gpus: float) -> TrialRow:
    report = outcome.report
    if report is None:
        return row.finished(outcome.ending or "failed", reason=outcome.reason, gpus=gpus)
    store.write_report(ReportRow(row.trial_id, row.attempt, report))
    undefined = report.undefined(objectives)
    status: Status = "diverged" if undefined else "completed"
    reason = f"not finite: {', '.join(undefined)}" if undefined else ""
    return row.finished(status, reason=reason, report=report, reports=1, gpus=gpus)
