"""`repeat`: the leaders again, with fresh seeds, scored on the validation patients like every trial of the search.

A search trains each configuration once and puts first what was lucky as well as good. Repeats tell which. They are
rows of the sweep's own table, but the Optuna study never hears of them: the sampler sees each configuration once, with
the search's own training. Told as further trials, they would make TPE believe that the leaders' neighbourhood is as
densely good as it was often looked at.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gansweep.contracts import Progress
from gansweep.errors import StoreError
from gansweep.experiment import ScoringSettings, TrialConfig
from gansweep.search.capacity import Footprint, check_capacity
from gansweep.search.confirm import same_cohort
from gansweep.search.gang import Gang
from gansweep.search.prechecks import config_checker
from gansweep.search.sweep import ray_cluster
from gansweep.search.worker import GangSettings
from gansweep.store.ranking import rank_trials
from gansweep.store.schema import ReportRow, TrialRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gansweep.contracts import Trainables
    from gansweep.search.desk import Outcome
    from gansweep.search.searcher import Say
    from gansweep.store.store import Store

__all__ = ["FIRST_SEED", "repeat"]

FIRST_SEED = 20_000
"""Away from the seeds of `confirm` (from 10 000): what it trains must be fresh again."""

_REPORTS = 1  # a score depends on the generator and its iteration, not on how many reports came before


def repeat(
    store: Store,
    trainables: Trainables,
    *,
    cohort: str | Path | None = None,
    cache: Path,
    leaders: int = 2,
    repeats: int = 3,
    seed: int = FIRST_SEED,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    say: Say = print,
) -> list[str]:
    """Trains the first configurations of the leaderboard again until each has `repeats` fresh trainings.

    Means over fresh trainings may put another configuration among the first; calling it again trains that one. It also
    goes on with a call that was interrupted and makes good trainings that failed; others are not trained twice.

    Args:
        store: a sweep that has completed trials.
        trainables: what its configurations name.
        cohort: the sweep's cohort, if it has moved.
        cache: folder for features and baselines.
        leaders: how many configurations.
        repeats: fresh trainings of each; diverged ones count, failed ones do not.
        seed: the first fresh seed; trainings take it and those that follow.
        workers: Ray Train workers per training; None: as many as the sweep had.
        gpus_per_worker: GPUs of each; None: as the sweep had.
        say: gets one line for each event.

    Returns:
        The ids of the trainings made.

    Raises:
        StoreError: no completed trial, or another process is at work on the sweep (see `Store.driven`).
        CohortError: another cohort than the sweep's.
        ConfigError: a configuration that these trainables or so many workers cannot train.
        ClusterError: a training does not fit the cluster.
        KeyboardInterrupt: Ctrl-C; the row of the training under way says so.
    """
    scans = same_cohort(store, cohort)
    info = store.info
    footprint = Footprint(
        workers or info.workers_per_trial, 1.0, info.gpus_per_worker if gpus_per_worker is None else gpus_per_worker
    )
    scoring = ScoringSettings.model_validate(info.experiment["scoring"])
    settings = GangSettings(store.uri, str(scans.path.resolve()), str(cache), trainables, scoring, reports=_REPORTS)
    check = config_checker(trainables, scans, workers=footprint.workers, reports=_REPORTS)
    made = []
    # Two at once would each train what is missing, and into the same checkpoints.
    with store.driven():
        wanted = list(_wanted(store, leaders, repeats, seed))
        if not wanted:
            say(f"nothing to train: the leaders have {repeats} fresh trainings each")
            return []
        for row in wanted:
            check(row.config)
        with ray_cluster() as resources:
            check_capacity(footprint, resources)
            with closing(Gang(settings, footprint)) as gang:
                for row in wanted:
                    say(f"trial {row.repeat_of}, once more with seed {row.config.seed}")
                    _train(store, gang, row, say)
                    made.append(row.trial_id)
        store.compact()
    return made


def _wanted(store: Store, leaders: int, repeats: int, seed: int) -> Iterator[TrialRow]:
    """The trainings that are missing, as the rows they begin with."""
    ranked = rank_trials(store.latest_trials(), store.info.objectives)
    completed = ranked[ranked["status"] == "completed"]
    if completed.empty:
        raise StoreError("no completed trial to repeat", where=store.label, fix="run more trials: --resume")
    for name in completed["configuration"].drop_duplicates().head(leaders):
        rows = ranked[ranked["configuration"] == name]
        used = {store.config(trial_id).seed for trial_id in rows["trial_id"]}
        fresh = rows[rows["repeat_of"].fillna("") != ""]
        # Divergence is what that seed makes of the configuration. What failed (memory, a dead gang) or was interrupted
        # says nothing of it, and is trained anew from its start.
        over = fresh["status"].isin(["completed", "diverged"])
        missing = max(0, repeats - int(over.sum()))
        again = fresh[~over].head(missing)
        for row in again.itertuples():
            yield _begun(str(row.trial_id), int(row.attempt) + 1, name, store.config(str(row.trial_id)))
        free = (number for number in range(seed, seed + repeats + len(used)) if number not in used)
        config = store.config(name)
        for _ in range(missing - len(again)):
            number = next(free)
            yield _begun(f"{name}-{number}", 0, name, config.derive({"seed": number}))


def _begun(trial_id: str, attempt: int, of: str, config: TrialConfig) -> TrialRow:
    return TrialRow(trial_id, attempt, "running", config, repeat_of=of)


def _train(store: Store, gang: Gang, row: TrialRow, say: Say) -> None:
    row = replace(row, started=datetime.now(UTC), workers=gang.footprint.workers)
    store.write_trial(row)
    try:
        store.delete(f"checkpoints/{row.trial_id}.pt")
        gang.assign(row.trial_id, row.config.as_dict(), attempt=row.attempt)
        outcome = gang.outcome(0)
    except BaseException as end:
        # Ctrl-C, or a node without the cohort: no one would ever say that this row no longer runs.
        reason = "the repeats were interrupted" if isinstance(end, KeyboardInterrupt) else str(end)
        store.write_trial(replace(_over(row, gang.footprint), status="interrupted", reason=reason))
        raise
    row = _ended(store, _over(row, gang.footprint), outcome)
    store.write_trial(row)
    aims = ", ".join(f"{item.name} {row.scores[item.name]:.4g}" for item in store.info.objectives if row.scores)
    say(f"trial {row.trial_id} {row.status}: {aims or row.reason} ({row.seconds:.0f} s)")


def _over(row: TrialRow, footprint: Footprint) -> TrialRow:
    """The row with the time that the training took until now."""
    assert row.started is not None
    ended = datetime.now(UTC)
    seconds = (ended - row.started).total_seconds()
    return replace(
        row, ended=ended, seconds=seconds, gpu_seconds=seconds * footprint.workers * footprint.gpus_per_worker
    )


def _ended(store: Store, row: TrialRow, outcome: Outcome) -> TrialRow:
    row = replace(row, status=outcome.ending or "failed", reason=outcome.reason)
    if outcome.report is None:
        return row
    progress, features = Progress(**outcome.report["progress"]), outcome.report["fid_features"]
    store.write_report(ReportRow.of(row.trial_id, row.attempt, progress, features))
    aims = [objective.name for objective in store.info.objectives]
    undefined = [name for name in aims if not math.isfinite(progress.scores.get(name, math.nan))]
    return replace(
        row,
        status="diverged" if undefined else "completed",
        reason=f"not finite: {', '.join(undefined)}" if undefined else "",
        scores={} if undefined else progress.scores,
        fid_features=features,
        reports=1,
        iterations=progress.iteration,
        images_seen=progress.images_seen,
        seconds_training=progress.seconds_training,
        seconds_scoring=progress.seconds_scoring,
    )
