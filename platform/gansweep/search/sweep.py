"""`sweep`: an Experiment in, a store of finished trials out."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.cohort.dataset import Cohort
from gansweep.errors import ClusterError
from gansweep.search.capacity import Footprint, check_capacity, grown, node_resources, total
from gansweep.search.prechecks import config_checker, precheck
from gansweep.search.searcher import MistakeStopper, Say, StudySearcher, make_sampler, requeue_orphans, spent
from gansweep.search.worker import GangSettings
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.experiment import Experiment, SchedulerSettings

__all__ = ["cache_folder", "ray_cluster", "sweep"]

_STARTUP_TRIALS = 10  # random trials before TPE models anything: Optuna's own default
_TRIAL_MEMORY = 256 * 2**20  # bytes a trial's own actor reserves; the work is done by the gang


def sweep(
    experiment: Experiment,
    *,
    cohort: str | Path,
    storage: str,
    name: str,
    trials: int,
    space: str = "",
    workers_per_trial: int = 1,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    concurrent: int | None = None,
    seed: int = 0,
    resume: bool = False,
    wait_for_nodes_s: float = 0.0,
    say: Say = print,
) -> Store:
    """Runs `trials` trials of an experiment and returns their store.

    Interrupted (Ctrl-C, a crash of the driver, a lost cluster), it can be called again with `resume`: trials under way
    go on from their last checkpoint, and a larger `trials` extends the sweep.

    Args:
        experiment: what to search.
        cohort: path of the cohort, readable on every node.
        storage: folder or pyarrow filesystem URI that gets `<name>/`, reachable from every node.
        name: of the sweep.
        trials: how many, those of earlier runs included.
        space: what the user called the space, for the record.
        workers_per_trial: Ray Train workers that share each trial's batches.
        cpus_per_worker: CPU cores of each.
        gpus_per_worker: GPUs of each; a fraction shares one.
        concurrent: trials at once; None: as many as the cluster holds.
        seed: of the sampler.
        resume: go on with the sweep of that name.
        wait_for_nodes_s: seconds an autoscaling cluster gets to make room for `concurrent` trials.
        say: gets one line for each event.

    Raises:
        CohortError: no cohort there, or on another node not this one.
        ClusterError: a trial does not fit the cluster.
        ConfigError: the space raises, or makes a configuration that cannot be trained; what trials are scored with is
            not there; the scheduler ranks by something else than an objective.
        StoreError: the storage cannot be written, or has such a sweep and `resume` is not set, or has one of another
            cohort, another space or other settings, or one that another process is running (see `Store.driven`).
        KeyboardInterrupt: Ctrl-C; the store can be resumed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scans = Cohort.open(cohort)
    check = config_checker(experiment.trainables, scans, workers=workers_per_trial, reports=experiment.reports)
    precheck(experiment, scans, check, space=space or experiment.name)
    footprint = Footprint(workers_per_trial, cpus_per_worker, gpus_per_worker)
    objectives = [objective.name for objective in experiment.objectives]
    with ExitStack() as driving:
        with ray_cluster():
            nodes = grown(footprint, concurrent or 1, wait_for_nodes_s)
            at_once = check_capacity(footprint, nodes, concurrent)
            info = describe_sweep(
                experiment,
                scans,
                name=name,
                space=space or experiment.name,
                seed=seed,
                trials=trials,
                workers_per_trial=workers_per_trial,
                gpus_per_worker=gpus_per_worker,
                concurrent=at_once,
                resources=total(nodes),
            )
            store = Store.create(storage, name, info, exist_ok=resume)
            driving.enter_context(store.driven())
            study = store.create_study()
            if resume:
                requeue_orphans(study, store, objectives, "the sweep ended under it")
                store.update_info(
                    trials=max(trials, store.info.trials),
                    concurrent=at_once,
                    workers_per_trial=workers_per_trial,
                    gpus_per_worker=gpus_per_worker,
                )
            elif not study.trials:
                for parameters in experiment.first_trials:
                    study.enqueue_trial(parameters)
            told = spent(study)
            # Another stream after each resumption, or the sampler would repeat its first random trials.
            study.sampler = make_sampler(experiment.sampler, seed + told, _STARTUP_TRIALS)
            searcher = StudySearcher(experiment, study, store, check, say)
            if told < trials:
                _search(experiment, searcher, store, scans, footprint, trials - told, at_once)
        requeue_orphans(study, store, objectives, "the sweep was interrupted")
        store.compact()
    if searcher.mistake is not None:
        raise searcher.mistake
    if spent(study) < trials:
        # Tune swallows Ctrl-C and returns, whether or not a trial was under way just then.
        raise KeyboardInterrupt
    return store


def _search(
    experiment: Experiment,
    searcher: StudySearcher,
    store: Store,
    cohort: Cohort,
    footprint: Footprint,
    trials: int,
    at_once: int,
) -> None:
    from ray import tune

    from gansweep.search.trial import GangTrial

    settings = GangSettings(
        store=store.uri,
        cohort=str(cohort.path.resolve()),
        cache=str(cache_folder()),
        trainables=experiment.trainables,
        scoring=experiment.scoring,
        reports=experiment.reports,
    )
    objectives = {objective.name: objective.direction for objective in experiment.objectives}
    trainable = tune.with_parameters(GangTrial, settings=settings, footprint=footprint, objectives=objectives)
    # Memory, not CPUs: a trial's actor only waits for its gang, and CPUs it held would be missing there.
    resources = tune.PlacementGroupFactory([{"CPU": 0, "memory": _TRIAL_MEMORY}])
    with tempfile.TemporaryDirectory(prefix="gansweep-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(experiment.scheduler, experiment),
                num_samples=trials,
                max_concurrent_trials=at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=store.info.name,
                storage_path=scratch,
                stop=MistakeStopper(searcher),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()


def _scheduler(settings: SchedulerSettings, experiment: Experiment) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if settings.kind == "none" or experiment.reports <= settings.grace:
        return FIFOScheduler()
    directions = {objective.name: objective.direction for objective in experiment.objectives}
    return ASHAScheduler(
        # The trial's own count of reports: Tune's starts again at 0 when it retries a trial.
        time_attr="reported",
        metric=settings.metric,
        mode="min" if directions[settings.metric] == "minimize" else "max",
        max_t=experiment.reports,
        grace_period=settings.grace,
        reduction_factor=settings.reduction_factor,
    )


@contextmanager
def ray_cluster() -> Iterator[list[dict[str, float]]]:
    """A Ray cluster, as the resources of its nodes.

    The one already connected to, else one found by Ray's own rules, else this machine.

    Raises:
        ClusterError: an address was given and nothing answers there.
    """
    # Ray reads these when it is first imported. Tune's own result files repeat what the store keeps, at a cost.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A diverged trial ends without the scheduler's metric; Tune's check would end the whole sweep with it.
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    import ray

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(include_dashboard=None, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            address = os.environ.get("RAY_ADDRESS", "")
            raise ClusterError(f"no Ray cluster: {error}", where=address, fix="see gansweep doctor") from error
    try:
        yield node_resources()
    finally:
        if ours:
            ray.shutdown()


def cache_folder() -> Path:
    """Where this machine keeps encoders, features and baselines from sweep to sweep."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gansweep"
