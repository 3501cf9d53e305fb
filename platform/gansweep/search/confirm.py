"""`confirm`: retrains the leaders with new seeds and evaluates them on the test patients, once.

A search selects its winner by the noise of its scores as well as by merit. `confirm` therefore retrains each leader
several times and trains detectors with and without its samples, and segmenters if it draws masks. Only then does it
read the test patients, and the store records that it did.

An interrupted confirmation continues under the same opening of the test patients, as long as no result was written.
Finished trainings and arms are kept under `confirm/`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.options import ConfirmOptions, ConfirmSettings
from gansweep.scoring.arms import AUGMENTED
from gansweep.scoring.statistics.elementary import LEAST_PATIENTS, LEAST_TRAININGS
from gansweep.search.answer import note_answer
from gansweep.search.cluster import ray_cluster
from gansweep.search.confirmation_file import POOLED, RESULT
from gansweep.search.confirmation_result import result_of
from gansweep.search.confirmed_answer import confirmed
from gansweep.search.prechecks import config_checker
from gansweep.search.relay import relayed
from gansweep.search.retraining import (
    REPORTS,
    arms_path,
    ranked_leaders,
    retraining_footprint,
    retraining_group,
    same_cohort,
)
from gansweep.search.room import room_for
from gansweep.search.side_by_side import train_side_by_side
from gansweep.store.filesystem import PATIENCE_S
from gansweep.store.interims import interims_logged
from gansweep.store.store import Store
from gansweep.store.sweep_info import TestOpening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.search.cluster import Footprint
    from gansweep.search.confirmed_arms import TrainedArms
    from gansweep.search.worker_group import WorkerGroup

__all__ = ["RESULT", "check_test_patients", "confirm"]

log = logging.getLogger(__name__)


def confirm(
    store: Store, trainables: Trainables, options: ConfirmOptions | None = None, *, cache: Path | None = None
) -> dict[str, Any]:
    """Retrains the leaders with new seeds and evaluates them on the test patients. Stores the result as `confirm.json`.

    Args:
        store: store of a sweep with completed trials.
        trainables: registry of the names in its configurations.
        options: number of trainings and seeds, resources, and the reason for opening the test patients again.
        cache: folder for features and baselines; None: the user's cache.

    Raises:
        StoreError: no trial has completed, the test patients were opened before and no reason is given, or another
            process is working on the sweep (see `Store.exclusive`).
        CohortError: the cohort is not the sweep's, or fewer than two test patients have the disease or do not have it.
        ConfigError: there are too few trainings, a leader makes no labelled samples or cannot be trained with these
            trainables or this number of workers, the leaders to pool are one or differ in their data view, or rivals
            were chosen that need masks, and there are none.
    """
    options = options or ConfirmOptions()
    if options.gan_seeds < LEAST_TRAININGS:
        raise ConfigError(
            f"{options.gan_seeds} trainings have no spread to judge by", fix=f"--gan-seeds {LEAST_TRAININGS} or more"
        )
    settings = options.evidence()
    with store.exclusive():
        # Read again: a confirmation that has just ended may have opened the test patients since.
        store = Store.open(store.uri, patience_s=PATIENCE_S)
        opening = _unfinished(store)
        if opening is None:
            _may_open(store, options.reason)
        scans = same_cohort(store, options.cohort)
        check_test_patients(scans)
        names, _ = ranked_leaders(store, settings.leaders, "confirm")
        leaders = {name: store.config(name) for name in names}
        if settings.pool:
            _check_pool(leaders)
        check = config_checker(trainables, scans, workers=options.workers_per_trial, reports=REPORTS)
        for config in leaders.values():
            check(config)
        _check_rivals(settings, scans)
        _can_help(leaders, trainables, scans)
        _ = store.scoring  # a file of the scoring that has changed is refused before the test patients are opened
        with ray_cluster(), relayed() as relay:
            footprint = retraining_footprint(store, options)
            trainings = _Trainings(store, leaders, settings)
            missing = list(trainings.missing())
            start = partial(retraining_group, store, trainables, scans, footprint, cache, options=options, scored=False)
            # Room for at least one, because the arms need a worker's GPUs, too.
            with room_for(max(1, len(missing)), footprint, options.wait_for_nodes) as room, interims_logged(store, log):
                train_side_by_side(missing, room, partial(start, relay=relay), trainings.make)
            trained = trainings.made()
            if opening is None:
                # The test patients are used from here on. Recorded first, so that a crash cannot hide it.
                opening = TestOpening(opened=datetime.now(UTC), reason=options.reason)
                store.update_info(test_openings=(*store.info.test_openings, opening))
                log.info("opening the test patients of %s", scans.path.name)
            else:
                log.info("going on with the opening of %s UTC", f"{opening.opened:%Y-%m-%d %H:%M}")
            arms = _run_arms(store, trainables, scans, trained, settings, footprint, relay)
        result = result_of(scans, leaders, arms, settings, opening)
        result["answer"] = confirmed(result, store.info.objectives).text
        store.write_bytes(RESULT, json.dumps(result, indent=2).encode())
        earlier = (item for item in store.info.test_openings if item.opened != opening.opened)
        store.update_info(test_openings=(*earlier, opening.model_copy(update={"judged": True})))
        note_answer(store)
        for checkpoints in _judged_together(trained, settings).values():
            for together in checkpoints:
                store.delete(arms_path(together))
    return result


def _unfinished(store: Store) -> TestOpening | None:
    """Returns the last opening of the test patients if its result was never written, so that nobody has seen it."""
    openings = store.info.test_openings
    if not openings or openings[-1].judged:  # the result may have been moved away since
        return None
    if store.exists(RESULT):
        try:
            shown = datetime.fromisoformat(json.loads(store.read_bytes(RESULT))["opened"])
            if shown >= openings[-1].opened:
                return None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None  # damaged, but someone may have seen it
    return openings[-1]


def _may_open(store: Store, reason: str) -> None:
    openings = store.info.test_openings
    if openings and not reason:
        when = ", ".join(f"{opening.opened:%Y-%m-%d %H:%M} UTC" for opening in openings)
        raise StoreError(
            f"its test patients were opened on {when}",
            where=store.label,
            fix="each further look makes their evidence weaker: give --reason, which every report will show",
        )


def check_test_patients(cohort: Cohort) -> None:
    """Refuses a cohort whose test patients are too few for any verdict.

    By the manifest alone: no test image is read for it.

    Raises:
        CohortError: fewer than two test patients with the disease, or without it.
    """
    test = cohort.manifest[cohort.manifest["split"] == "test"]
    diseased = test["label"] == cohort.info.positive_class
    for rows, what in ((test[diseased], "with"), (test[~diseased], "without")):
        if (count := rows["patient"].nunique()) < LEAST_PATIENTS:
            raise CohortError(
                f"{count} test patient(s) {what} {cohort.info.positive_class}, and a verdict needs {LEAST_PATIENTS}",
                where=str(cohort.path),
                fix="ingest with a --split that leaves more for the test, and sweep again",
            )


def _check_rivals(settings: ConfirmSettings, cohort: Cohort) -> None:
    """Refuses rivals that need masks where there are none, or tells of them if they were not chosen by the user."""
    pasted = ", ".join(rival for rival in settings.rivals if rival not in AUGMENTED)
    if not pasted or cohort.spec().mask_channels:
        return
    why = f"paste real lesions, and {cohort.path.name} has no masks"
    if settings.rivals != ConfirmSettings().rivals:
        raise ConfigError(f"{pasted} {why}", where="--rivals", fix="leave them out, or ingest the masks, too")
    log.info("without the rivals %s: they %s", pasted, why)


def _can_help(leaders: dict[str, TrialConfig], trainables: Trainables, cohort: Cohort) -> None:
    for trial_id, config in leaders.items():
        if not trainables.classes_labelled(config, cohort.spec(config.data)):
            raise ConfigError(
                f"trial {trial_id} makes samples without labels, which no detector can be trained with",
                where=f"family {config.family}, conditioning {config.conditioning}",
                fix="sweep with a conditioning",
            )


class _Trainings:
    """New trainings of the leaders. The store records how each ended, so that none is repeated.

    Args:
        store: the sweep's store.
        leaders: configurations by trial.
        settings: number of trainings per leader, and their seeds.
    """

    def __init__(self, store: Store, leaders: dict[str, TrialConfig], settings: ConfirmSettings) -> None:
        self._store = store
        self._leaders = leaders
        self._count = settings.gan_seeds
        self._configs: dict[str, tuple[str, TrialConfig]] = {}
        for trial_id, config in leaders.items():
            for seed in range(settings.seed, settings.seed + settings.gan_seeds):
                self._configs[f"confirm-{trial_id}-{seed}"] = (trial_id, config.derive({"seed": seed}))

    def missing(self) -> list[str]:
        """Returns the names of the trainings that have not ended."""
        return [name for name in self._configs if self._ending(name) is None]

    def make(self, group: WorkerGroup, name: str) -> None:
        """Runs one training, from its checkpoint if there is one."""
        trial_id, config = self._configs[name]
        log.info("trial %s, training with seed %d, %d in all", trial_id, config.seed, self._count)
        group.assign(name, config.as_dict())
        outcome = group.outcome(0)
        if outcome.report is None:
            log.info("trial %s, seed %d: %s: %s", trial_id, config.seed, outcome.ending, outcome.reason)
        if outcome.report is not None or outcome.ending == "diverged":
            ended = {"config": config.as_dict(), "completed": outcome.report is not None}
            self._store.write_bytes(_ending_path(name), json.dumps(ended).encode())

    def made(self) -> dict[str, list[str]]:
        """Returns the names of the checkpoints of each leader's trainings.

        Raises:
            StoreError: too few trainings of a leader have completed.
        """
        trained: dict[str, list[str]] = {trial_id: [] for trial_id in self._leaders}
        for name, (trial_id, _) in self._configs.items():
            if self._ending(name):
                trained[trial_id].append(name)
        for trial_id, names in trained.items():
            if len(names) < LEAST_TRAININGS:
                raise StoreError(f"trial {trial_id} did not train again with fresh seeds", where=self._store.label)
        return trained

    def _ending(self, name: str) -> bool | None:
        """Returns whether a training completed; None if it has not ended or its checkpoint is no longer usable."""
        _, config = self._configs[name]
        if not self._store.exists(_ending_path(name)):
            return None
        try:
            ended = json.loads(self._store.read_bytes(_ending_path(name)))
            completed = bool(ended["completed"])
            if ended["config"] != config.as_dict():
                return None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if completed and self._store.checkpoint(name).state_to_continue(config) is None:
            return None
        return completed


def _ending_path(name: str) -> str:
    return f"confirm/{name}.json"


def _check_pool(leaders: dict[str, TrialConfig]) -> None:
    if len(leaders) < 2:
        raise ConfigError("one leader has nothing to be pooled with", where="--pool", fix="--leaders 2 or more")
    views = {config.data for config in leaders.values()}
    if len(views) > 1:
        raise ConfigError(
            f"trials {', '.join(leaders)} have images of different sizes or crops",
            where="--pool",
            fix="leave --pool out, or fix data.size and data.crop in the space",
        )


def _judged_together(trained: dict[str, list[str]], settings: ConfirmSettings) -> dict[str, list[tuple[str, ...]]]:
    """Returns, by name, the checkpoints whose samples go into the same arms: of each leader, and of all if pooled."""
    found: dict[str, list[tuple[str, ...]]] = {
        trial_id: [(name,) for name in names] for trial_id, names in trained.items()
    }
    if settings.pool:
        # A leader of which fewer trainings completed limits the number of pools.
        found[POOLED.join(trained)] = list(zip(*trained.values(), strict=False))
    return found


def _run_arms(
    store: Store,
    trainables: Trainables,
    cohort: Cohort,
    trained: dict[str, list[str]],
    settings: ConfirmSettings,
    footprint: Footprint,
    relay: Any,
) -> dict[str, list[TrainedArms]]:
    """Computes each leader's arms as Ray tasks, one per training."""
    import ray

    from gansweep.search.arm_tasks import results_of
    from gansweep.search.confirmed_arms import kept_arms, work_name

    kind = {"accelerator_type": footprint.accelerator} if footprint.accelerator else {}
    task = ray.remote(num_cpus=1, num_gpus=footprint.gpus_per_worker, max_retries=0, **kind)(kept_arms)
    judged = _judged_together(trained, settings)
    starts: dict[str, Callable[[], Any]] = {}
    for checkpoints in judged.values():
        for number, together in enumerate(checkpoints):
            arguments = (store, trainables, cohort.path, together, settings, number, relay)
            starts[work_name(together)] = partial(task.remote, *arguments)
    found: dict[str, TrainedArms] = results_of(starts)
    arms = {name: [found[work_name(together)] for together in checkpoints] for name, checkpoints in judged.items()}
    first = arms[next(iter(trained))]
    for name in arms.keys() - trained.keys():
        # Seeds depend on the number of the training alone, so arms without a generator are the leader's.
        arms[name] = [pooled.beside(alone) for alone, pooled in zip(first, arms[name], strict=False)]
    return arms
