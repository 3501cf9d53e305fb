"""`answer`: the whole question, from a cohort to a sentence, in one call that can be interrupted and goes on.

It tells first what the patients can show at most, and ends there if that is nothing. Then it searches, repeats the
leaders and opens the test patients once, each as the command of that name does, and never spends more than the time it
was given on what can be left out.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.distributed import World
from gansweep.errors import ConfigError, StoreError
from gansweep.files import cache_folder
from gansweep.options import AnswerOptions, ConfirmOptions, RepeatOptions, SweepOptions
from gansweep.scoring.arms import RIVALS, arm_names
from gansweep.scoring.power import Power, Rivals, measure_rivals, power_of
from gansweep.scoring.reference import ReferenceMaker
from gansweep.search.answer import answer
from gansweep.search.cluster import ray_cluster
from gansweep.search.confirm import check_test_patients, confirm
from gansweep.search.confirmation_file import confirmation
from gansweep.search.prechecks import config_checker, precheck
from gansweep.search.repeat import repeat
from gansweep.search.spaces import load_space
from gansweep.search.stop_rules import seconds_of
from gansweep.search.sweep import sweep
from gansweep.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.experiment import Experiment

__all__ = ["Found", "answer_question", "power_text"]

log = logging.getLogger(__name__)

_FOR_TRAININGS = 0.25
"""Of the time for the search, what is kept for training the leaders again; how long that takes is not known before."""
_LEAST_SWEEP_SECONDS = 1.0


@dataclass
class Found:
    """What became of the question.

    Args:
        power: what the patients can show at most.
        rivals: what costs nothing, on validation patients.
        store: of the search; None where nothing could be shown.
        skipped: what was left out, and why.
        answer: one sentence.
        state: as `gansweep.search.answer.Answer` has it; `nothing can be shown` where the search was not begun.
    """

    power: Power
    rivals: Rivals
    store: Store | None = None
    skipped: list[str] = field(default_factory=list)
    answer: str = ""
    state: str = ""


def answer_question(cohort: Path, options: AnswerOptions, *, cache: Path | None = None) -> Found:
    """Answers whether synthetic images help with a cohort.

    Called again after an interruption it goes on; the time budget is that of a call. Once the test patients have been
    opened it gives the answer that they gave.

    Args:
        cohort: a folder that `gansweep ingest` wrote.
        options: where to search and to store, and how long.
        cache: folder for features and baselines; None: the user's cache.

    Raises:
        CohortError: no cohort there, one class only, or fewer than two test patients with the disease, or without it.
        ConfigError: see `gansweep.search.sweep.sweep`.
        StoreError: the store is of another search.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    deadline = time.monotonic() + seconds_of(options.time_budget)
    scans = Cohort.open(cohort)
    check_test_patients(scans)
    space = options.space or _fitting(scans)
    experiment = load_space(space).with_settings(options.settings)
    precheck(
        experiment,
        scans,
        config_checker(experiment.trainables, scans, workers=options.workers_per_trial, reports=experiment.reports),
        space=space,
    )
    confirming = _confirming(options)
    found = _known_before(scans, experiment, confirming, cache or cache_folder())
    log.info("%s", power_text(found.power))
    if (best := found.rivals.best()) is not None:
        log.info("best rival on validation patients: %s, accuracy %.1f %%", best, _percent(found.rivals, best))
    if found.power.hopeless and not options.even_if_hopeless:
        found.answer = f"Nothing can be shown with these patients, so nothing was searched: {power_text(found.power)}."
        found.state = "nothing can be shown"
        return found
    store = Store.begun(options.storage, _name(options, cohort), exist_ok=True)
    if store is not None and confirmation(store) is not None:
        found.store = store
    else:
        with ray_cluster():
            found.store = _Search(cohort, experiment, space, options, deadline).run(found, store)
    ended = answer(found.store)
    found.answer = ended.text
    found.state = ended.state
    return found


def power_text(power: Power) -> str:
    """What the patients can show at most, as a clause."""
    most = (
        f"detectors of real images alone are right in {100 * power.accuracy:.0f} % of {power.validation} validation "
        f"patients, so no change can be more than {100 * power.gain:+.0f} points"
    )
    if power.needed is None:
        return f"{most}, and there is nothing to gain"
    if power.hopeless:
        return f"{most}, and to show even that would take {power.needed} test patients, of which there are {power.test}"
    return f"{most}, and {power.test} test patients show changes of about {100 * power.shown:.0f} points or more"


def _percent(rivals: Rivals, name: str) -> float:
    return 100 * rivals.scores[name]["accuracy"]


def _fitting(cohort: Cohort) -> str:
    """The space for a cohort: lesions are painted where masks say what one is."""
    spec = cohort.spec()
    return "lesion_painter" if spec.mask_channels and len(spec.classes) == 2 else "fahr_ct"


def _confirming(options: AnswerOptions) -> ConfirmOptions:
    return ConfirmOptions(
        leaders=1,
        gan_seeds=options.gan_seeds,
        detector_seeds=options.detector_seeds,
        workers_per_trial=options.workers_per_trial,
        gpus_per_worker=options.gpus_per_worker,
        checkpoint_minutes=options.checkpoint_minutes,
    )


def _known_before(scans: Cohort, experiment: Experiment, confirming: ConfirmOptions, folder: Path) -> Found:
    """Power and rivals, by detectors on training and validation patients."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = {key: value for key, value in experiment.overrides.items() if key.split(".")[0] == "data"}
    view = TrialConfig().derive(settings).data
    maker = ReferenceMaker(scans, experiment.scoring, experiment.trainables, folder, device)
    real = maker.make(view, World.current(device))
    if real.baseline is None:
        raise ConfigError("one class only, so there is nothing to detect", where=str(scans.path))
    rivals = measure_rivals(real, confirming.rivals, folder, device)
    patients = scans.manifest.groupby("split")["patient"].nunique()
    claims = len(confirming.ratios) + 1  # and synthetic images only
    accuracy = rivals.scores["real"]["accuracy"]
    return Found(power_of(accuracy, int(patients["val"]), int(patients["test"]), claims), rivals)


@dataclass(frozen=True)
class _Search:
    """Sweep, repeats and confirmation, as far as the time goes.

    Args:
        cohort: its folder.
        experiment: what to search.
        space: what the user called it.
        options: of the question.
        deadline: of the call, on the monotonic clock.
    """

    cohort: Path
    experiment: Experiment
    space: str
    options: AnswerOptions
    deadline: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def run(self, found: Found, store: Store | None) -> Store:
        """Goes on with `store`, or begins one; what does not fit into the time is noted in `found`."""
        options = self.options
        confirming = _confirming(options)
        detecting = _detecting_seconds(found.rivals, confirming)
        store = self._swept(store, (self.left - detecting) * (1 - _FOR_TRAININGS))
        training = _training_seconds(store)
        if training is None:
            found.skipped.append("repeat and confirm: no trial completed in the time")
            return store
        leaders = min(options.leaders, int((store.latest_trials()["status"] == "completed").sum()))
        repeating = leaders * options.repeats * training
        wanted = detecting + confirming.gan_seeds * training
        if self.left - wanted > repeating:
            repeat(store, self.experiment.trainables, _repeating(options, leaders))
        else:
            found.skipped.append(f"repeat: {leaders * options.repeats} trainings take about {_duration(repeating)}")
        if self.left < wanted:
            more = "more than is left; the same command goes on, and more time lets it end"
            found.skipped.append(f"confirm: it takes about {_duration(wanted)}, {more}")
            return store
        try:
            confirm(store, self.experiment.trainables, confirming)
        except StoreError as refusal:
            found.skipped.append(f"confirm: {refusal}")
        return store

    def _swept(self, store: Store | None, budget: float) -> Store:
        """The sweep after as many trials as the budget (seconds) allows; one that has begun needs none."""
        if store is not None and budget < _LEAST_SWEEP_SECONDS:
            return store
        options = self.options
        budget = max(budget, _LEAST_SWEEP_SECONDS)
        log.info("searching %s for at most %s", self.space, _duration(budget))
        sweeping = SweepOptions(
            cohort=self.cohort,
            storage=options.storage,
            name=_name(options, self.cohort),
            trials=options.trials,
            workers_per_trial=options.workers_per_trial,
            gpus_per_worker=options.gpus_per_worker,
            time_budget=f"{budget:.0f}s",
            settings=options.settings,
            seed=options.seed,
            resume=store is not None,
            checkpoint_minutes=options.checkpoint_minutes,
        )
        return sweep(self.experiment, sweeping, space=self.space)


def _repeating(options: AnswerOptions, leaders: int) -> RepeatOptions:
    return RepeatOptions(
        leaders=leaders,
        repeats=options.repeats,
        workers_per_trial=options.workers_per_trial,
        gpus_per_worker=options.gpus_per_worker,
        checkpoint_minutes=options.checkpoint_minutes,
    )


def _name(options: AnswerOptions, cohort: Path) -> str:
    return options.name or cohort.resolve().name


def _detecting_seconds(rivals: Rivals, confirming: ConfirmOptions) -> float:
    """What the detectors of a confirmation take, one after another; a leader's own ratio is one more arm."""
    arms = len(arm_names(confirming.ratios)) + 1 + len([name for name in rivals.scores if name in RIVALS.values()])
    return rivals.seconds * arms * confirming.detector_seeds * confirming.gan_seeds


def _training_seconds(store: Store) -> float | None:
    """The median time of a completed trial."""
    trials = store.latest_trials()
    seconds = trials.loc[trials["status"] == "completed", "seconds"]
    return None if seconds.empty else float(seconds.median())


def _duration(seconds: float) -> str:
    minutes = math.ceil(max(seconds, 0.0) / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
