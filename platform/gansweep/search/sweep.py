"""`sweep`: runs the trials of an Experiment and returns their store."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansweep.errors import ConfigError
from gansweep.files import cache_folder
from gansweep.search.aims import check_constraints
from gansweep.search.cluster import (
    Footprint,
    check_capacity,
    groups_that_fit,
    grown,
    memory_beside_workers,
    node_resources,
    ray_cluster,
    total,
)
from gansweep.search.cohorts import find_cohort, place_for_workers
from gansweep.search.guesses import enqueue_new, guessed_parameters
from gansweep.search.loggers import Runs, check_loggers, loggers_of
from gansweep.search.prechecks import config_checker, precheck
from gansweep.search.samplers import make_sampler
from gansweep.search.searcher import (
    SearchStopper,
    StudySearcher,
    count_ended,
    count_proposed,
    requeue_orphans,
)
from gansweep.search.start import START
from gansweep.search.start_from import check_fit, start_of
from gansweep.search.stop_rules import StopRules, check_stop_rules
from gansweep.search.study_rows import study_of_rows
from gansweep.search.trial_end import interrupt_running
from gansweep.search.warm_start import warm_proposals
from gansweep.search.worker import WorkerGroupSettings
from gansweep.store.compaction import Upkeep
from gansweep.store.driver_storage import driven
from gansweep.store.interims import interims_logged
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from gansweep.store.study_database import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import optuna

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment
    from gansweep.options import SweepOptions
    from gansweep.training.start import Start

__all__ = ["STARTUP_TRIALS", "Ready", "prepare", "sweep"]

log = logging.getLogger(__name__)

STARTUP_TRIALS = 10  # random trials before TPE uses a model: Optuna's default
_RETRIES = 2  # Tune's retries of a trial's actor without a new report


@dataclass(frozen=True)
class Ready:
    """Checked inputs of a sweep, before anything is created.

    Args:
        experiment: the experiment. With initial weights, its networks are those of the weights.
        cohort: the images.
        check: raises ConfigError for a configuration that cannot be trained.
        guesses: the user's guesses, by parameter of the space.
        earlier: leaders of earlier sweeps, by parameter of the space.
        footprint: resources of a trial.
        start: initial weights of the trials; None for random weights.
    """

    experiment: Experiment
    cohort: Cohort
    check: Callable[[TrialConfig], None]
    guesses: list[dict[str, Any]]
    earlier: list[dict[str, Any]]
    footprint: Footprint
    start: Start | None = None


def prepare(experiment: Experiment, options: SweepOptions, *, space: str) -> Ready:
    """Checks a sweep as far as possible before Ray is started or the storage is accessed.

    Raises:
        CohortError: there is no cohort.
        ConfigError: see `sweep`.
    """
    scans = find_cohort(options.cohort, options.storage)
    start = _start(experiment, options, scans)
    if start is not None:
        experiment = experiment.with_settings(start.settings())
    check = config_checker(experiment.trainables, scans, workers=options.workers_per_trial, reports=experiment.reports)

    def check_with_start(config: TrialConfig) -> None:
        # Builds networks, so the search itself does not do this for each of its proposals.
        check(config)
        if start is not None:
            check_fit(start, config, scans, experiment.trainables)

    precheck(experiment, scans, check_with_start, space=space)
    training_patients = scans.info.patients.get("train", 0)
    check_constraints(experiment.constraints, gpus=options.gpus_per_worker, patients=training_patients)
    check_stop_rules(options, experiment.objectives)
    if options.study:
        place_of(options.study)
    check_loggers(options)
    guesses = guessed_parameters(experiment, options.tries)
    earlier = warm_proposals(experiment, options.warm_start)
    footprint = Footprint(
        options.workers_per_trial,
        options.cpus_per_worker,
        options.gpus_per_worker,
        options.placement,
        options.accelerator,
    )
    return Ready(experiment, scans, check, guesses, earlier, footprint, start)


def _start(experiment: Experiment, options: SweepOptions, cohort: Cohort) -> Start | None:
    if options.start_from is None:
        if options.freeze_critic:
            what = "a critic that starts anew has nothing to keep"
            raise ConfigError(what, where="--freeze-critic", fix="give --start-from, or leave it out")
        return None
    return start_of(options.start_from, options.freeze_critic, cohort, experiment.trainables)


def sweep(experiment: Experiment, options: SweepOptions, *, space: str = "") -> Store:
    """Runs the trials of an experiment and returns their store.

    After an interruption (Ctrl-C, a crash of the driver, a lost cluster), call it again with `resume`: unfinished
    trials continue from their last checkpoint. A larger `trials` extends the sweep.

    Args:
        experiment: the search, with the changes of `options` applied (see `SweepOptions.changes`).
        options: cohort, storage, number of trials and resources.
        space: the user's name for the space, for the record.

    Raises:
        CohortError: there is no cohort, or another node has a different one.
        ClusterError: a trial does not fit on the cluster.
        ConfigError: the space raises, or makes a configuration that cannot be trained; something needed for scoring is
            missing; or the scheduler's metric is not an objective.
        StoreError: the storage cannot be written; it has such a sweep and `resume` is not set; the sweep there has
            another cohort, space or settings; or another process is running it (see `Store.exclusive`).
        KeyboardInterrupt: Ctrl-C; the store can be resumed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = space or experiment.name
    ready = prepare(experiment, options, space=space)
    experiment = ready.experiment
    scans = ready.cohort
    footprint = ready.footprint
    objectives = [objective.name for objective in experiment.objectives]
    with ExitStack() as driving, ray_cluster():
        at_once, resources = _room(footprint, options)
        info = describe_sweep(experiment, scans, options, space=space, concurrent=at_once, resources=resources)
        store = Store.create(options.storage, options.name, info, exist_ok=options.resume, study=options.study)
        driving.enter_context(store.study_errors_explained())
        store.wait_out(options.wait_for_storage)
        driving.enter_context(store.exclusive())
        if ready.start is not None and not store.exists(START):
            store.write_bytes(START, ready.start.to_bytes())
        written = _resumed_study(store, experiment) if options.resume else store.create_study()
        study = driven(written, store.study_storage())
        driving.callback(_leave, study, store, objectives)
        if options.resume:
            _record_run(store, options, at_once, info.feature_files)
        first_trials = () if study.trials else experiment.first_trials
        enqueue_new(study, [*ready.guesses, *ready.earlier, *first_trials])
        ended = count_ended(study)
        study.sampler = make_sampler(experiment.sampler, options.seed, count_proposed(study), STARTUP_TRIALS)
        rules = StopRules(options, experiment.objectives, store.rows(), experiment.constraints)
        with Upkeep(store, ended) as upkeep, interims_logged(store, log):
            searcher = StudySearcher(experiment, study, store, ready.check, rules, upkeep)
            if ended < options.trials and not rules.reason:
                search = _Search(experiment, store, scans, footprint, options, at_once)
                search.run(searcher, rules, options.trials - ended)
    if searcher.mistake is not None:
        raise searcher.mistake
    ended = count_ended(study)
    if ended < options.trials and rules.reason:
        log.info("%d of %d trials, and the sweep ends: %s; --resume goes on", ended, options.trials, rules.reason)
    elif ended < options.trials:
        # Tune catches Ctrl-C and returns, whether or not a trial was running.
        raise KeyboardInterrupt
    return store


def _room(footprint: Footprint, options: SweepOptions) -> tuple[int, dict[str, float]]:
    """Waits for the nodes of a growing cluster, if asked to.

    Returns:
        (number of trials that run at a time in the beginning, resources of the cluster).

    Raises:
        ClusterError: a trial, or the number of concurrent trials, does not fit on the cluster.
    """
    nodes = grown(footprint, options.concurrent or 1, options.wait_for_nodes)
    growing = options.wait_for_nodes > 0 and groups_that_fit(footprint, nodes) > 0
    # A cluster that grows need not have room for all concurrent trials yet.
    fits = check_capacity(footprint, nodes, None if growing else options.concurrent)
    at_once = min(fits, options.concurrent or fits)
    if options.concurrent is not None and at_once < options.concurrent:
        log.info("beginning with %d of %d trials at a time; more as nodes join", at_once, options.concurrent)
    return at_once, total(nodes)


def _resumed_study(store: Store, experiment: Experiment) -> optuna.Study:
    """Returns the study of a resumed sweep, corrected by the rows. Nothing is running in either."""
    for name in store.set_aside_damaged():
        log.warning("%s was damaged and is kept as %s; what it lacks is trained again", store.label, name)
    reason = "the sweep ended under it"
    interrupt_running(store, reason)
    study = study_of_rows(store, experiment)
    requeue_orphans(study, store, [objective.name for objective in experiment.objectives], reason)
    return study


def _record_run(store: Store, options: SweepOptions, at_once: int, feature_files: Mapping[str, str]) -> None:
    """Records the number of trials and the resources with which a resumed sweep goes on.

    Also records the hashes of the user's feature files, which earlier versions did not.
    """
    store.update_info(
        trials=max(options.trials, store.info.trials),
        concurrent=at_once,
        workers_per_trial=options.workers_per_trial,
        gpus_per_worker=options.gpus_per_worker,
        feature_files={**feature_files, **store.info.feature_files},
    )


def _leave(study: optuna.Study, store: Store, objectives: list[str]) -> None:
    """Leaves the store in a state that can be resumed, however the sweep ended. No worker writes to it any more."""
    try:
        requeue_orphans(study, store, objectives, "the sweep was interrupted")
    finally:  # also if the study fails
        store.compact()
    store.sync_study()


@dataclass(frozen=True)
class _Search:
    """One run of Tune.

    Args:
        experiment: the search.
        store: the sweep's store.
        cohort: the images.
        footprint: resources of a trial.
        options: options of the sweep.
        at_once: initial number of concurrent trials.
    """

    experiment: Experiment
    store: Store
    cohort: Cohort
    footprint: Footprint
    options: SweepOptions
    at_once: int

    def run(self, searcher: StudySearcher, rules: StopRules, trials: int) -> None:
        """Runs this number of trials, or fewer if a rule ends the sweep."""
        from ray import tune

        from gansweep.search.growth import GrowingLimiter
        from gansweep.search.heap import returning_large_blocks
        from gansweep.search.relay import relayed
        from gansweep.search.retries import ProgressCounts
        from gansweep.search.room import Demand, Room
        from gansweep.search.schedulers import Compared, make_scheduler
        from gansweep.search.tune_memory import NoProgress, forget_ended_trials

        options = self.options
        demand = Demand(self.footprint) if options.wait_for_nodes else None
        room = Room(self.footprint, self.at_once, options.concurrent, demand)
        scheduler = make_scheduler(Compared.of(self.experiment), self.store.latest_reports(), options.seed)
        forget_ended_trials(scheduler)
        with tempfile.TemporaryDirectory(prefix="gansweep-tune-") as scratch, ExitStack() as stack:
            stack.enter_context(returning_large_blocks())
            if demand is not None:
                stack.callback(demand.withdraw)
            tune.Tuner(
                self._trainable(stack.enter_context(relayed())),
                tune_config=tune.TuneConfig(
                    search_alg=GrowingLimiter(searcher, room),
                    scheduler=scheduler,
                    num_samples=trials,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=self.store.info.name,
                    storage_path=scratch,
                    stop=SearchStopper(searcher, rules, self.experiment.prune),
                    verbose=0,
                    callbacks=[ProgressCounts(), Runs(self.store, loggers_of(self.options, self.store)), NoProgress()],
                    failure_config=tune.FailureConfig(max_failures=_RETRIES),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            ).fit()

    def _trainable(self, relay: Any) -> Any:
        from ray import tune

        from gansweep.search.trial import WorkerGroupTrial

        settings = WorkerGroupSettings(
            store=self.store.uri,
            cohort=place_for_workers(self.cohort),
            cache=str(cache_folder()),
            trainables=self.experiment.trainables,
            scoring=self.experiment.scoring.with_scores(bound.score for bound in self.experiment.constraints),
            reports=self.experiment.reports,
            checkpoint_seconds=60.0 * self.options.checkpoint_minutes,
            hang_seconds=60.0 * self.options.hang_minutes,
            hang_factor=self.options.hang_factor,
            relay=relay,
            patience_s=self.options.wait_for_storage,
        )
        objectives = {objective.name: objective.direction for objective in self.experiment.objectives}
        trainable = tune.with_parameters(
            WorkerGroupTrial, settings=settings, footprint=self.footprint, objectives=objectives
        )
        # Memory instead of CPUs: a trial's actor only waits for its worker group, which would lack the CPUs.
        memory = memory_beside_workers(node_resources())
        return tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": 0, "memory": memory}]))
