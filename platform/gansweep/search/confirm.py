"""`confirm`: the leaders again, with fresh seeds, and the test patients, once.

A search chooses its winner by the noise of its own scores as much as by merit. Here each leader is trained anew several
times; detectors are trained with and without its samples; and only then are the test patients looked at. The store
records that they were.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError, ConfigError, GansweepError, StoreError
from gansweep.experiment import ScoringSettings, TrialConfig
from gansweep.scoring.arms import BASE, judge_arms
from gansweep.scoring.statistics import LEAST_TRAININGS
from gansweep.search.capacity import Footprint, check_capacity
from gansweep.search.gang import Gang
from gansweep.search.prechecks import config_checker
from gansweep.search.sweep import ray_cluster
from gansweep.search.worker import GangSettings
from gansweep.store.ranking import rank_trials
from gansweep.store.schema import TestOpening
from gansweep.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import Trainables
    from gansweep.search.searcher import Say

__all__ = ["RESULT", "ConfirmSettings", "confirm", "same_cohort"]

RESULT = "confirm.json"
LEAST_PATIENTS = 2
"""With the disease, and without: below that no variance between patients can be told."""

_REPORTS = 1  # only the end of each training is looked at


@dataclass(frozen=True)
class ConfirmSettings:
    """How much evidence to gather.

    Args:
        leaders: how many of the best trials to confirm.
        gan_seeds: generators trained of each; without a spread over trainings there is no verdict.
        detector_seeds: detectors per generator and arm.
        ratios: synthetic images per real one, an arm each; a leader's own is added.
        samples: drawn from each generator.
        seed: the first fresh seed; trainings take it and those that follow.
    """

    leaders: int = 1
    gan_seeds: int = 3
    detector_seeds: int = 3
    ratios: tuple[float, ...] = (0.25, 0.5, 1.0)
    samples: int = 512
    seed: int = 10_000


def confirm(
    store: Store,
    trainables: Trainables,
    *,
    cohort: str | Path | None = None,
    cache: Path,
    settings: ConfirmSettings | None = None,
    workers: int = 1,
    gpus_per_worker: float = 0.0,
    reason: str = "",
    say: Say = print,
) -> dict[str, Any]:
    """Trains the leaders with fresh seeds and scores them on the test patients; the result is kept as `confirm.json`.

    Args:
        store: a sweep that has completed trials.
        trainables: what its configurations name.
        cohort: the sweep's cohort, if it has moved.
        cache: folder for features and baselines.
        settings: how much evidence to gather.
        workers: Ray Train workers per training.
        gpus_per_worker: GPUs of each.
        reason: why the test patients are opened again; needed the second time.
        say: gets one line for each event.

    Raises:
        StoreError: no completed trial, the test patients were opened before and no reason is given, or another process
            is at work on the sweep (see `Store.driven`).
        CohortError: another cohort than the sweep's, or one with fewer than two test patients with the disease, or
            without it.
        ConfigError: too few trainings, or a leader that makes no samples with labels or that these trainables or so
            many workers cannot train.
    """
    settings = settings or ConfirmSettings()
    if settings.gan_seeds < LEAST_TRAININGS:
        raise ConfigError(
            f"{settings.gan_seeds} trainings have no spread to judge by", fix=f"--gan-seeds {LEAST_TRAININGS} or more"
        )
    with store.driven():
        # Read again: a confirmation that has just ended may have opened the test patients since.
        store = Store.open(store.uri)
        _may_open(store, reason)
        scans = same_cohort(store, cohort)
        _can_judge(scans)
        leaders = _leaders(store, settings.leaders)
        check = config_checker(trainables, scans, workers=workers, reports=_REPORTS)
        for config in leaders.values():
            check(config)
        _can_help(leaders, trainables, scans)
        with ray_cluster() as resources:
            footprint = Footprint(workers, 1.0, gpus_per_worker)
            check_capacity(footprint, resources)
            trained = _train(store, trainables, scans, cache, leaders, settings, footprint, say)
            # From here on the test patients are used: recorded before, so that a crash cannot hide it.
            opening = TestOpening(opened=datetime.now(UTC), reason=reason)
            store.update_info(test_openings=(*store.info.test_openings, opening))
            say(f"opening the test patients of {scans.path.name}")
            arms = _run_arms(store, trainables, scans, trained, settings, footprint)
        result = _judged(scans, leaders, arms, settings, opening)
        store.write_bytes(RESULT, json.dumps(result, indent=2).encode())
    return result


def _may_open(store: Store, reason: str) -> None:
    openings = store.info.test_openings
    if openings and not reason:
        when = ", ".join(f"{opening.opened:%Y-%m-%d %H:%M} UTC" for opening in openings)
        raise StoreError(
            f"its test patients were opened on {when}",
            where=store.label,
            fix="each further look makes their evidence weaker: give --reason, which every report will show",
        )


def _can_judge(cohort: Cohort) -> None:
    """By the manifest alone: no test image is read for it, and nothing has been trained yet."""
    test = cohort.manifest[cohort.manifest["split"] == "test"]
    diseased = test["label"] == cohort.info.positive_class
    for rows, what in ((test[diseased], "with"), (test[~diseased], "without")):
        if (count := rows["patient"].nunique()) < LEAST_PATIENTS:
            raise CohortError(
                f"{count} test patient(s) {what} {cohort.info.positive_class}, and a verdict needs {LEAST_PATIENTS}",
                where=str(cohort.path),
                fix="ingest with a --split that leaves more for the test, and sweep again",
            )


def _can_help(leaders: dict[str, TrialConfig], trainables: Trainables, cohort: Cohort) -> None:
    for trial_id, config in leaders.items():
        if not trainables.classes_labelled(config, cohort.spec(config.data)):
            raise ConfigError(
                f"trial {trial_id} makes samples without labels, which no detector can be trained with",
                where=f"family {config.family}, conditioning {config.conditioning}",
                fix="sweep with a conditioning",
            )


def same_cohort(store: Store, cohort: str | Path | None) -> Cohort:
    """The sweep's cohort, at `cohort` if it has moved.

    Raises:
        CohortError: none there, or another one.
    """
    scans = Cohort.open(cohort or store.info.cohort.path)
    if scans.content_hash != store.info.cohort.content_hash:
        raise CohortError("not the cohort of this sweep", where=str(scans.path), fix="give the one it was run on")
    return scans


def _leaders(store: Store, count: int) -> dict[str, TrialConfig]:
    trials = store.latest_trials()
    completed = rank_trials(trials[trials["status"] == "completed"], store.info.objectives)
    if completed.empty:
        raise StoreError("no completed trial to confirm", where=store.label, fix="run more trials: --resume")
    return {name: store.config(name) for name in completed["configuration"].drop_duplicates().head(count)}


def _train(
    store: Store,
    trainables: Trainables,
    cohort: Cohort,
    cache: Path,
    leaders: dict[str, TrialConfig],
    settings: ConfirmSettings,
    footprint: Footprint,
    say: Say,
) -> dict[str, list[str]]:
    """Names of the checkpoints of each leader's fresh trainings."""
    scoring = ScoringSettings.model_validate(store.info.experiment["scoring"])
    gang = Gang(
        GangSettings(store.uri, str(cohort.path.resolve()), str(cache), trainables, scoring, reports=_REPORTS),
        footprint,
    )
    trained: dict[str, list[str]] = {}
    try:
        for trial_id, config in leaders.items():
            for number in range(settings.gan_seeds):
                name = f"confirm-{trial_id}-{settings.seed + number}"
                say(f"trial {trial_id}, training {number + 1}/{settings.gan_seeds} with seed {settings.seed + number}")
                gang.assign(name, config.derive({"seed": settings.seed + number}).as_dict())
                outcome = gang.outcome(0)
                if outcome.report is None:
                    say(f"trial {trial_id}, seed {settings.seed + number}: {outcome.ending}: {outcome.reason}")
                    continue
                trained.setdefault(trial_id, []).append(name)
    finally:
        gang.close()
    for trial_id in leaders:
        if len(trained.get(trial_id, ())) < LEAST_TRAININGS:
            raise StoreError(f"trial {trial_id} did not train again with fresh seeds", where=store.label)
    return trained


def _run_arms(
    store: Store,
    trainables: Trainables,
    cohort: Cohort,
    trained: dict[str, list[str]],
    settings: ConfirmSettings,
    footprint: Footprint,
) -> dict[str, list[dict[str, Any]]]:
    """Each leader's arms, one dict of `[s, n, classes]` probabilities per training, computed as Ray tasks."""
    import ray

    from gansweep.search.confirmed_arms import arms_of

    scoring = ScoringSettings.model_validate(store.info.experiment["scoring"])
    task = ray.remote(num_cpus=1, num_gpus=footprint.gpus_per_worker, max_retries=2)(arms_of)
    pending = {
        trial_id: [
            task.remote(store, trainables, cohort.path, name, scoring, settings, number)
            for number, name in enumerate(names)
        ]
        for trial_id, names in trained.items()
    }
    try:
        return {trial_id: ray.get(references) for trial_id, references in pending.items()}
    except ray.exceptions.RayTaskError as error:
        # Ray's own error prints the whole traceback where the cause has one line.
        raise error.cause if isinstance(error.cause, GansweepError) else error from None


def _judged(
    cohort: Cohort,
    leaders: dict[str, TrialConfig],
    arms: dict[str, list[dict[str, Any]]],
    settings: ConfirmSettings,
    opening: TestOpening,
) -> dict[str, Any]:
    test = cohort.load_test()
    positive = cohort.info.classes.index(cohort.info.positive_class)
    judged = judge_arms(arms, test, positive, seed=settings.seed)
    return {
        "opened": opening.opened.isoformat(),
        "reason": opening.reason,
        "split": "test",
        "images": len(test),
        "patients": len(set(test.patients)),
        "settings": asdict(settings),
        "base": BASE,
        "leaders": [
            {"trial_id": trial_id, "config": leaders[trial_id].as_dict(), **asdict(found)}
            for trial_id, found in judged.items()
        ],
    }
