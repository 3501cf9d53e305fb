"""Previews a sweep without writing anything: its first trials, refused proposals, what fits at once, and the cost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optuna.trial import TrialState

from gansweep.devices import device_of_trials
from gansweep.errors import Diverged, GansweepError
from gansweep.experiment import sampler_text
from gansweep.search.cluster import check_capacity, expected_nodes, groups_that_fit, total
from gansweep.search.guesses import enqueue_new
from gansweep.search.parameters import DrawnTrial, SpaceParameters, WithFixed
from gansweep.search.probe import training_seconds
from gansweep.search.samplers import make_sampler
from gansweep.search.searcher import count_ended, count_proposed
from gansweep.search.space_listing import space_parameters
from gansweep.search.spaces import users_code
from gansweep.search.stop_rules import seconds_of
from gansweep.search.study_rows import ATTEMPTS, trials_of_rows
from gansweep.search.sweep import STARTUP_TRIALS, prepare
from gansweep.search.timing import Timing, timing_of, timing_under
from gansweep.search.trial_end import trial_name
from gansweep.store.continuation import check_continues
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment
    from gansweep.options import SweepOptions
    from gansweep.search.cluster import Footprint
    from gansweep.search.space_listing import Parameter
    from gansweep.search.sweep import Ready

__all__ = ["Cost", "DryRun", "Proposal", "dry_run"]

_SHOWN = 5  # trials shown
_ASKED = 20  # maximum number of proposals for them
_DRAWS = 100  # random proposals that show what is refused


@dataclass(frozen=True)
class Proposal:
    """A trial that the sweep would propose.

    Args:
        trial: id of the trial.
        origin: source of the proposal.
        parameters: values by the space's parameter names.
        config: configuration that would be trained; None if it is refused.
        refusal: reason of the refusal.
    """

    trial: str
    origin: str
    parameters: dict[str, Any]
    config: TrialConfig | None
    refusal: str = ""


@dataclass(frozen=True)
class Cost:
    """Estimated cost of a sweep, from the timing of another sweep or of a probe.

    Args:
        timing: timing of the other sweep, or of the probe.
        hours: hours until all trials have ended.
        gpu_hours: GPU hours of all trials.
        budget: option that would end the sweep earlier, and when.
    """

    timing: Timing
    hours: float
    gpu_hours: float
    budget: str = ""


@dataclass(frozen=True)
class DryRun:
    """Preview of a sweep.

    Args:
        experiment: the search, with the settings applied.
        parameters: free parameters.
        proposals: first proposals.
        refused: reasons why random proposals are refused, with their counts, most frequent first.
        drawn: number of random proposals behind these counts.
        footprint: resources of a trial.
        resources: resources of all nodes.
        cluster: whether they are those of a running cluster rather than of this machine.
        at_once: number of concurrent trials.
        fits: number of trials for which there is room now.
        ended: number of the sweep's trials that have already ended.
        left: number of trials still to run.
        cost: estimated cost; None if no earlier sweep of the space has timings, and no trial could be timed here.
    """

    experiment: Experiment
    parameters: list[Parameter]
    proposals: list[Proposal]
    refused: dict[str, int]
    drawn: int
    footprint: Footprint
    resources: dict[str, float]
    cluster: bool
    at_once: int
    fits: int
    ended: int
    left: int
    cost: Cost | None


def dry_run(experiment: Experiment, options: SweepOptions, *, space: str) -> DryRun:
    """Performs every step of `gansweep.search.sweep.sweep` before the first trial, and writes nothing.

    Args:
        experiment: the experiment, as for `sweep`.
        options: the options, as for `sweep`.
        space: the user's name for the space.

    Raises:
        GansweepError: the sweep itself would be refused.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ready = prepare(experiment, options, space=space)
    experiment = ready.experiment
    store = Store.begun(options.storage, options.name, exist_ok=options.resume)
    nodes, cluster = expected_nodes()
    at_once = _at_once(ready.footprint, nodes, options, cluster=cluster)
    info = describe_sweep(experiment, ready.cohort, options, space=space)
    if store is not None:
        check_continues(store.info, info, store.label)
    study = _study(experiment, options, ready, store)
    ended = count_ended(study)
    left = max(0, options.trials - ended)
    proposals = _proposals(study, experiment, ready, store, min(_SHOWN, left))
    timing = (timing_of(store, info) if store is not None else None) or timing_under(options.storage, info)
    timing = timing or _probed(proposals, ready, options)
    return DryRun(
        experiment=experiment,
        parameters=space_parameters(experiment),
        proposals=proposals,
        refused=_refused(experiment, ready, space),
        drawn=_DRAWS,
        footprint=ready.footprint,
        resources=total(nodes),
        cluster=cluster,
        at_once=at_once,
        fits=groups_that_fit(ready.footprint, nodes),
        ended=ended,
        left=left,
        cost=_cost(timing, options, left, at_once) if timing is not None else None,
    )


def _at_once(
    footprint: Footprint, nodes: Sequence[Mapping[str, float]], options: SweepOptions, *, cluster: bool
) -> int:
    """Returns the number of trials to run at once, on a cluster that grows if the sweep waits for that.

    Raises:
        ClusterError: not even one trial fits, or fewer than the user wants do, and no nodes are waited for.
    """
    if not options.wait_for_nodes:
        return check_capacity(footprint, nodes, options.concurrent)
    if cluster:
        return options.concurrent or max(1, groups_that_fit(footprint, nodes))
    fits = check_capacity(footprint, nodes)
    return min(fits, options.concurrent or fits)


def _study(experiment: Experiment, options: SweepOptions, ready: Ready, store: Store | None) -> optuna.Study:
    """Creates a study in memory that makes the same proposals as the sweep's study."""
    import optuna

    study = optuna.create_study(directions=[objective.direction for objective in experiment.objectives])
    if store is not None:
        study.add_trials(trials_of_rows(store, experiment))
    first_trials = () if study.trials else experiment.first_trials
    enqueue_new(study, [*ready.guesses, *ready.earlier, *first_trials])
    study.sampler = make_sampler(experiment.sampler, options.seed, count_proposed(study), STARTUP_TRIALS)
    return study


def _proposals(
    study: optuna.Study, experiment: Experiment, ready: Ready, store: Store | None, wanted: int
) -> list[Proposal]:
    fixed = SpaceParameters(experiment).fixed(experiment.overrides) if experiment.overrides else {}
    trained = {row.trial_id: row.config for row in store.latest_rows() if not row.repeat_of} if store else {}
    found: list[Proposal] = []
    while sum(item.config is not None for item in found) < wanted and len(found) < _ASKED:
        trial = study.ask()
        name = trial_name(trial.number)
        origin = _origin(study.get_trials(deepcopy=False)[trial.number], ready, experiment)
        try:
            with users_code(f"space {experiment.name}"):
                begun = trained.get(name) if trial.user_attrs.get(ATTEMPTS) else None
                config = begun or experiment.config(cast("optuna.Trial", WithFixed(trial, fixed)))
            ready.check(config)
        except GansweepError as refusal:
            found.append(Proposal(name, origin, dict(trial.params), None, str(refusal)))
            study.tell(trial, state=TrialState.PRUNED)
            continue
        same = next((other for other, known in trained.items() if known == config and other != name), "")
        if same and trial.params:
            found.append(Proposal(name, origin, dict(trial.params), None, f"the same configuration as trial {same}"))
            study.tell(trial, state=TrialState.FAIL)
            continue
        trained[name] = config
        found.append(Proposal(name, origin, dict(trial.params), config))
    return found


def _origin(trial: FrozenTrial, ready: Ready, experiment: Experiment) -> str:
    if trial.user_attrs.get(ATTEMPTS):
        return "goes on"
    asked = trial.system_attrs.get("fixed_params")
    if asked in ready.guesses:
        return "--try"
    if asked in ready.earlier:
        return "--warm-start"
    return "first trial" if asked is not None else sampler_text(experiment.sampler)


def _refused(experiment: Experiment, ready: Ready, space: str) -> dict[str, int]:
    fixed = SpaceParameters(experiment).fixed(experiment.overrides) if experiment.overrides else {}
    draws = random.Random(0)
    counts: Counter[str] = Counter()
    for _ in range(_DRAWS):
        try:
            with users_code(f"space {space}"):
                config = experiment.config(cast("optuna.Trial", WithFixed(DrawnTrial({}, draws), fixed)))
            ready.check(config)
        except GansweepError as refusal:
            counts[str(refusal)] += 1
    return dict(counts.most_common())


def _probed(proposals: Sequence[Proposal], ready: Ready, options: SweepOptions) -> Timing | None:
    """Returns the timing of the first proposal by a probe.

    Returns None if trials have GPUs and this machine has none, or if the proposal diverges at once.
    """
    config = next((proposal.config for proposal in proposals if proposal.config is not None), None)
    device = device_of_trials(options.gpus_per_worker)
    if config is None or (options.gpus_per_worker and device.type == "cpu"):
        return None
    try:
        threads = max(1, int(options.cpus_per_worker))
        seconds = training_seconds(config, ready.cohort, ready.experiment.trainables, device, threads=threads)
    except Diverged:
        return None
    return Timing("", 0, seconds, seconds, seconds, ())


def _cost(timing: Timing, options: SweepOptions, left: int, at_once: int) -> Cost:
    seconds = timing.seconds * left / max(1, min(at_once, left))
    gpu_hours = timing.seconds * left * options.workers_per_trial * options.gpus_per_worker / 3600
    budget = ""
    if options.max_gpu_hours is not None and gpu_hours > options.max_gpu_hours:
        budget = f"--max-gpu-hours {options.max_gpu_hours:g}"
    if options.time_budget and seconds > seconds_of(options.time_budget):
        budget = f"--time-budget {options.time_budget}"
    return Cost(timing, seconds / 3600, gpu_hours, budget)
