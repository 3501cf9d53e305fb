"""Early stopping by all objectives: which trials go on, against the definition."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from gansweep.config import Objective, SchedulerSettings
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.halving import MultiObjectiveHalving, keeps_by_any, keeps_by_fronts
from gansweep.search.schedulers import Compared, check_scheduler, make_scheduler
from trainables import TRAINABLES

# FID and 1 - accuracy. 0, 1 and 2 are the front; 3 is dominated by 1, 4 and 5 by all.
COSTS = np.array([[10.0, 0.9], [20.0, 0.5], [500.0, 0.1], [21.0, 0.6], [600.0, 0.95], [700.0, 0.96]])


def _kept(keeps: Any, share: float) -> list[int]:
    return [row for row in range(len(COSTS)) if keeps(COSTS, row, share)]


def test_of_a_front_first_the_best_detector_goes_on_then_what_is_far_from_it() -> None:
    assert _kept(keeps_by_fronts, 1 / 6) == [2]
    assert _kept(keeps_by_fronts, 2 / 6) == [0, 2]
    assert _kept(keeps_by_fronts, 3 / 6) == [0, 1, 2]
    assert _kept(keeps_by_fronts, 4 / 6) == [0, 1, 2, 3]
    assert _kept(keeps_by_fronts, 1.0) == [0, 1, 2, 3, 4, 5]


def test_one_good_objective_is_enough() -> None:
    assert _kept(keeps_by_any, 1 / 6) == [0, 2]
    assert _kept(keeps_by_any, 2 / 6) == [0, 1, 2]
    assert _kept(keeps_by_any, 3 / 6) == [0, 1, 2, 3]


@pytest.mark.parametrize("keeps", [keeps_by_fronts, keeps_by_any])
def test_equal_trials_do_not_stop_each_other_by_name(keeps: Any) -> None:
    """The first of all goes on, and so does one of several that are alike."""
    assert keeps(np.array([[1.0, 2.0]]), 0, 1 / 3)
    alike = np.array([[1.0, 2.0]] * 6)
    assert sum(keeps(alike, row, 1 / 3) for row in range(6)) >= 2


def _experiment(kind: str, **changes: Any) -> Experiment:
    settings = SchedulerSettings(kind=kind)  # type: ignore[arg-type]
    return Experiment(name="e", space=lambda _: None, trainables=TRAINABLES, scheduler=settings, reports=9, **changes)


def _verdicts(scheduler: TrialScheduler, name: str, scores: list[tuple[float, float]], first: int = 1) -> list[str]:
    trial = Trial("WorkerGroupTrial", config={"trial_id": name}, stub=True)
    scheduler.on_trial_add(None, trial)
    told = []
    for number, (fid, accuracy) in enumerate(scores, start=first):
        told.append(scheduler.on_trial_result(None, trial, {"reported": number, "fid": fid, "accuracy": accuracy}))
        if told[-1] == TrialScheduler.STOP:
            break
    return told


NO_REPORTS = pd.DataFrame(columns=["trial_id", "index", "fid", "accuracy"])
GO, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


def test_the_best_detector_is_stopped_for_its_fid_by_asha_alone() -> None:
    for kind, verdict in (("asha", STOP), ("mo-asha", GO), ("asha-any", GO)):
        scheduler = make_scheduler(Compared.of(_experiment(kind)), NO_REPORTS, seed=0)
        for number in range(5):
            _verdicts(scheduler, f"{number:04d}", [(10.0 - number, 0.6)])
        assert _verdicts(scheduler, "0005", [(99.0, 0.9)]) == [verdict], kind
        assert _verdicts(scheduler, "0006", [(99.0, 0.5)]) == [STOP], kind


@pytest.mark.parametrize("kind", ["mo-asha", "asha-any"])
def test_a_trial_is_judged_at_rungs_alone_and_once(kind: str) -> None:
    rows = [(f"{number:04d}", index, 10.0, 0.9) for number in range(4) for index in (0, 2)]
    scheduler = make_scheduler(Compared.of(_experiment(kind)), pd.DataFrame(rows, columns=NO_REPORTS.columns), seed=0)
    # It was good enough at report 1, as its report of an earlier call says; at report 3 it is not.
    assert _verdicts(scheduler, "0000", [(99.0, 0.1)] * 2) == [GO, GO]
    assert _verdicts(scheduler, "0009", [(9.0, 0.95), (99.0, 0.1), (99.0, 0.1)]) == [GO, GO, STOP]


def test_by_all_objectives_there_must_be_several() -> None:
    one = (Objective(name="fid", direction="minimize"),)
    check_scheduler(Compared.of(_experiment("mo-asha")))
    with pytest.raises(ConfigError, match=r"mo-asha compares trials by several objectives, and there is one: fid"):
        check_scheduler(Compared.of(_experiment("mo-asha", objectives=one)))
    check_scheduler(Compared.of(_experiment("asha", objectives=one)))
    check_scheduler(Compared.of(_experiment("asha-any", objectives=one)))


def test_a_space_without_a_scheduler_compares_by_any_objective() -> None:
    """Also if none of its objectives is the default metric of the others."""
    experiment = _experiment("asha-any", objectives=(Objective(name="ssim", direction="maximize"),))
    assert type(experiment).model_fields["scheduler"].default.kind == "asha-any"
    scheduler = make_scheduler(Compared.of(experiment), NO_REPORTS.assign(ssim=[]), seed=0)
    assert isinstance(scheduler, MultiObjectiveHalving)
