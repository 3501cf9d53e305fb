"""`answer`: the whole question, from a cohort to a sentence, in one call that can be interrupted and goes on.

It tells first what the patients can show at most, and ends there if that is nothing. Then it searches, repeats the
leaders and opens the test patients once, each as the command of that name does, and never spends more than the time it
was given on what can be left out.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from gansweep.cohort.dataset import Cohort
from gansweep.devices import device_of_trials, release_cached_memory
from gansweep.errors import StoreError
from gansweep.files import cache_folder
from gansweep.options import AnswerOptions, ClusterOptions, ConfirmOptions, RepeatOptions, SweepOptions
from gansweep.scoring.arms import RIVALS, arm_names
from gansweep.search.answer import answer
from gansweep.search.before_search import known_before
from gansweep.search.cluster import Footprint, groups_that_fit, node_resources, ray_cluster
from gansweep.search.confirm import check_test_patients, confirm
from gansweep.search.confirmation_file import confirmation
from gansweep.search.prechecks import config_checker, precheck
from gansweep.search.repeat import repeat
from gansweep.search.spaces import load_space
from gansweep.search.stop_rules import seconds_of
from gansweep.search.sweep import sweep
from gansweep.search.training_length import iterations_within
from gansweep.store.continuation import check_continues
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment
    from gansweep.scoring.power import NetworkSeconds, Power, Rivals

__all__ = ["Found", "answer_question", "power_text", "sweep_name"]

log = logging.getLogger(__name__)

_FOR_TRAININGS = 0.25
"""Fraction of the time that is reserved for retraining the leaders. Their training time is not known beforehand."""
_LEAST_SWEEP_SECONDS = 1.0


@dataclass
class Found:
    """Result of `gansweep answer`.

    Args:
        power: statistical power of the test patients.
        rivals: scores of the rivals on validation patients.
        networks: estimated training times of detectors and segmenters.
        store: store of the search; None if there was no search.
        skipped: steps that were skipped, with the reason.
        answer: the answer in one sentence.
        state: state of `gansweep.search.answer.Answer`, or `nothing can be shown` if there was no search.
    """

    power: Power
    rivals: Rivals
    networks: NetworkSeconds
    store: Store | None = None
    skipped: list[str] = field(default_factory=list)
    answer: str = ""
    state: str = ""


def answer_question(cohort: Path, options: AnswerOptions, *, cache: Path | None = None) -> Found:
    """Answers whether synthetic images help with a cohort.

    A further call continues an interrupted one. The time budget applies to each call. After `confirm` has used the test
    patients, further calls return its answer.

    Args:
        cohort: folder of a cohort.
        options: space, storage, time budget and resources.
        cache: folder for features and baselines; None: the user's cache.

    Raises:
        CohortError: there is no cohort, or fewer than two test patients have the disease or do not have it.
        ConfigError: see `gansweep.search.sweep.sweep`; or the cohort has only one class.
        StoreError: the store contains another search.
        KeyboardInterrupt: the user pressed Ctrl-C. A further call continues.
    """
    deadline = time.monotonic() + seconds_of(options.time_budget)
    scans = Cohort.open(cohort)
    check_test_patients(scans)
    space = options.space or _fitting(scans)
    experiment = load_space(space).with_settings(options.settings)
    check = config_checker(experiment.trainables, scans, workers=options.workers_per_trial, reports=experiment.reports)
    precheck(experiment, scans, check, space=space)
    store = _begun(experiment, scans, options, space)
    confirming = _confirming(options)
    device = device_of_trials(options.gpus_per_worker)
    found = Found(*known_before(scans, experiment, confirming, cache or cache_folder(), device))
    release_cached_memory(device)
    log.info("%s", power_text(found.power))
    best = found.rivals.best()
    if best is not None:
        log.info("best rival on validation patients: %s, accuracy %.1f %%", best, _percent(found.rivals, best))
    hopeless = found.power.hopeless and not options.even_if_hopeless
    if store is None and hopeless:
        found.answer = f"Nothing can be shown with these patients, so nothing was searched: {power_text(found.power)}."
        found.state = "nothing can be shown"
        return found
    if store is not None and confirmation(store) is not None:
        found.store = store
    elif store is not None and hopeless:
        found.store = store
        found.skipped.append("all further steps: nothing can be shown with these patients; --even-if-hopeless goes on")
    else:
        with ray_cluster():
            searched = _Search(scans, experiment, check, space, options, deadline).run(found, store)
        found.store = Store.open(searched.uri)  # each step has recorded something since, such as the opening
    ended = answer(found.store)
    found.answer = ended.text
    found.state = ended.state
    return found


def _begun(experiment: Experiment, scans: Cohort, options: AnswerOptions, space: str) -> Store | None:
    """Returns the store of an earlier call; None if there was none.

    Raises:
        StoreError: it is of another search, or of another cohort. Two cohorts may be in folders of the same name.
    """
    store = Store.begun(options.storage, sweep_name(options, scans.path), exist_ok=True)
    if store is not None:
        length = _kept_length(store, options)
        sweeping = _sweep_options(options, scans, length)
        check_continues(
            store.info, describe_sweep(experiment.with_settings(length), scans, sweeping, space=space), store.label
        )
    return store


def _kept_length(store: Store, options: AnswerOptions) -> dict[str, int]:
    """Returns the setting `iterations` of a sweep that has begun, unless it is the space's or the user's."""
    begun = store.info.experiment.get("overrides", {})
    if "iterations" in options.settings or "iterations" not in begun:
        return {}
    return {"iterations": begun["iterations"]}


def _sweep_options(options: AnswerOptions, scans: Cohort, length: Mapping[str, int], **values: Any) -> SweepOptions:
    return SweepOptions(
        cohort=scans.path,
        storage=options.storage,
        name=sweep_name(options, scans.path),
        trials=options.trials,
        settings={**options.settings, **length},
        seed=options.seed,
        **_where(options),
        **values,
    )


def power_text(power: Power) -> str:
    """Describes the statistical power of the patients, as a clause."""
    low, high = power.interval
    most = (
        f"detectors of real images alone are right in {100 * power.accuracy:.0f} % of {power.validation} validation "
        f"patients (95 % interval {100 * low:.0f} to {100 * high:.0f} %), so a change can be about "
        f"{100 * power.gain:+.0f} points at most"
    )
    if power.needed is None:
        return f"{most}, and by this estimate there is nothing to gain"
    if power.hopeless:
        return f"{most}, and to show even that would take {power.needed} test patients, of which there are {power.test}"
    return f"{most}, and {power.test} test patients show changes of about {100 * power.shown:.0f} points or more"


def _percent(rivals: Rivals, name: str) -> float:
    return 100 * rivals.scores[name]["accuracy"]


def _fitting(cohort: Cohort) -> str:
    """Returns the name of a suitable space. The lesion painter needs masks and two classes."""
    spec = cohort.spec()
    return "lesion_painter" if spec.mask_channels and len(spec.classes) == 2 else "fahr_ct"


def _confirming(options: AnswerOptions) -> ConfirmOptions:
    return ConfirmOptions(
        leaders=1,
        gan_seeds=options.gan_seeds,
        detector_seeds=options.detector_seeds,
        **_where(options),
    )


@dataclass(frozen=True)
class _Search:
    """Runs sweep, repeats and confirmation, as far as the time allows.

    Args:
        scans: the cohort.
        experiment: the experiment to search.
        check: raises a `GansweepError` if a configuration cannot be trained.
        space: the user's name for the space.
        options: options of `answer_question`.
        deadline: end of the time budget, on the monotonic clock.
    """

    scans: Cohort
    experiment: Experiment
    check: Callable[[TrialConfig], None]
    space: str
    options: AnswerOptions
    deadline: float

    @property
    def left(self) -> float:
        """Remaining time in seconds."""
        return self.deadline - time.monotonic()

    def run(self, found: Found, store: Store | None) -> Store:
        """Runs the search in `store`, or in a new store if it is None. Adds the steps that it skips to `found`."""
        options = self.options
        confirming = _confirming(options)
        arms_at_once = self._at_once(workers=1)
        at_once = self._at_once(options.workers_per_trial)
        networks_s = _network_seconds(found, confirming, arms_at_once)
        for_search_s = self.left - networks_s
        if for_search_s < _LEAST_SWEEP_SECONDS:
            # Trials that this call completes are there for one with more time.
            log.info(
                "the networks of a verdict take about %s, and %s is left: this call only searches",
                _duration(networks_s),
                _duration(self.left),
            )
            for_search_s = self.left
        length = self._length(found, store, for_search_s, at_once)
        store = self._swept(store, for_search_s * (1 - _FOR_TRAININGS), length)
        if "dice" not in store.latest_trials():  # no generator draws masks
            without = replace(found, networks=replace(found.networks, segmenter=0.0))
            networks_s = _network_seconds(without, confirming, arms_at_once)
        training_s = _training_seconds(store)
        if training_s is None:
            found.skipped.append("repeat and confirm: no trial completed in the time")
            return store
        completed = int((store.latest_trials()["status"] == "completed").sum())
        leaders = min(options.leaders, completed)
        trainings = leaders * options.repeats
        repeat_s = _rounds(trainings, at_once) * training_s
        confirm_s = networks_s + _rounds(confirming.gan_seeds, at_once) * training_s
        if self.left > repeat_s + confirm_s:
            repeat(store, self.experiment.trainables, _repeating(options, leaders))
        else:
            found.skipped.append(f"repeat: {trainings} trainings take about {_duration(repeat_s)}")
        if self.left < confirm_s:
            more = "more than is left; the same command goes on, and more time lets it end"
            found.skipped.append(f"confirm: it takes about {_duration(confirm_s)}, {more}")
            return store
        try:
            confirm(store, self.experiment.trainables, confirming)
        except StoreError as refusal:
            found.skipped.append(f"confirm: {refusal}")
        return store

    def _at_once(self, workers: int) -> int:
        """Returns how many groups of workers the cluster has room for."""
        options = self.options
        footprint = Footprint(workers, 1.0, options.gpus_per_worker, options.placement, options.accelerator)
        return max(1, groups_that_fit(footprint, node_resources()))

    def _length(self, found: Found, store: Store | None, for_search_s: float, at_once: int) -> dict[str, int]:
        """Returns the setting `iterations` if the trainings of the space are too long for the time, or {}.

        The leaders' trainings have their fraction of the time. A sweep that has begun goes on with its own length.
        """
        options = self.options
        if "iterations" in options.settings:
            return {}
        if store is not None:
            kept = _kept_length(store, options)
            if kept:
                log.info("trainings keep their %d iterations; another --name begins anew", kept["iterations"])
            return kept
        if options.gpus_per_worker and not torch.cuda.is_available():
            return {}  # trainings cannot be timed on this machine
        rounds = _rounds(options.leaders * options.repeats, at_once) + _rounds(options.gan_seeds, at_once)
        trial_s = for_search_s * _FOR_TRAININGS / rounds
        scores_s = self.experiment.reports * self.experiment.scoring.detector_seeds * found.networks.both
        training_s = max(0.0, trial_s - scores_s)
        device = device_of_trials(options.gpus_per_worker)
        iterations = iterations_within(training_s, self.experiment, self.scans, self.check, options.seed, device)
        release_cached_memory(device)
        if iterations is None:
            return {}
        log.info(
            "all trainings have %d iterations, to end in about %s with their scores; --set iterations=... chooses",
            iterations,
            _duration(max(trial_s, scores_s)),
        )
        return {"iterations": iterations}

    def _swept(self, store: Store | None, budget: float, length: Mapping[str, int]) -> Store:
        """Runs as many trials as the budget in seconds allows, and returns the store.

        With almost no time, a sweep that has begun is returned unchanged.
        """
        if store is not None and budget < _LEAST_SWEEP_SECONDS:
            return store
        budget = max(budget, _LEAST_SWEEP_SECONDS)
        log.info("searching %s for at most %s", self.space, _duration(budget))
        sweeping = _sweep_options(
            self.options, self.scans, length, time_budget=f"{budget:.0f}s", resume=store is not None
        )
        return sweep(self.experiment.with_settings(length), sweeping, space=self.space)


def _repeating(options: AnswerOptions, leaders: int) -> RepeatOptions:
    return RepeatOptions(
        leaders=leaders,
        repeats=options.repeats,
        **_where(options),
    )


def _where(options: AnswerOptions) -> dict[str, Any]:
    """Returns the options of where trainings run, which sweep, repeats and confirmation have in common."""
    names = (*ClusterOptions.model_fields, "workers_per_trial", "gpus_per_worker")
    return {name: getattr(options, name) for name in names}


def sweep_name(options: AnswerOptions, cohort: Path) -> str:
    """Returns the name of the sweep: the user's, or that of the cohort's folder."""
    return options.name or cohort.resolve().name


def _rounds(trainings: int, at_once: int) -> int:
    return math.ceil(trainings / at_once)


def _network_seconds(found: Found, confirming: ConfirmOptions, at_once: int) -> float:
    """Returns the time in which all detectors and segmenters of a confirmation are trained, in seconds.

    Segmenters have no more arms than detectors. The networks beside one GAN's images are trained one after another.
    """
    own_ratio = 1  # the arm with the leader's own ratio
    rival_arms = len([name for name in found.rivals.scores if name in RIVALS.values()])
    arms = len(arm_names(confirming.ratios)) + own_ratio + rival_arms
    return found.networks.both * arms * confirming.detector_seeds * _rounds(confirming.gan_seeds, at_once)


def _training_seconds(store: Store) -> float | None:
    """Returns the median duration of a completed trial in seconds; None if there is none."""
    trials = store.latest_trials()
    seconds = trials.loc[trials["status"] == "completed", "seconds"]
    return None if seconds.empty else float(seconds.median())


def _duration(seconds: float) -> str:
    minutes = math.ceil(max(seconds, 0.0) / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
