"""The answer of a search in one sentence: whether synthetic images help, by how much, and how certain that is.

If segmenters were judged too, a second sentence says the same of pairs of image and mask.

The sentences are built only here and in `gansweep.search.confirmed_answer`. `confirm`, `status`, `leaderboard`, the
report, the model card, `evidence.json` and the note of the Optuna study show them in the same words.
"""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING

from gansweep.errors import StoreError, counted
from gansweep.options import ConfirmOptions
from gansweep.scoring.metrics.formatting import of_asked, points
from gansweep.search.confirmation_file import RESULT, confirmation
from gansweep.search.confirmed_answer import NO_CHANGE, Answer, about, confirmed, measures
from gansweep.store.feasibility import constraints_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from gansweep.store.store import Store
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["answer", "note_answer", "of_training", "so_far"]

_MOST_TRAININGS = 1000
"""Above this number of trainings, the answer only says that more are needed: no sweep has as many."""


def answer(store: Store, ranked: Callable[[], pd.DataFrame] | None = None) -> Answer:
    """Returns the answer of a sweep: that of `confirm` if it was run, else what is known so far.

    Args:
        store: the sweep's store.
        ranked: returns the result of `store.ranked_trials`, for a caller that has read the trials. It is called only
            if `confirm` was not run.
    """
    try:
        found = confirmation(store)
    except StoreError:
        return Answer(f"Not known: {RESULT}, the result of `gansweep confirm`, cannot be read.", "not known")
    if found is not None:
        return confirmed(found, store.info.objectives)
    return so_far((ranked or store.ranked_trials)(), store.info)


def so_far(ranked: pd.DataFrame, info: SweepInfo) -> Answer:
    """Returns the answer before `confirm`: what the validation patients show, and what evidence is still missing.

    Args:
        ranked: one row per trial, from `rank_trials`.
        info: record of the sweep.
    """
    measure = _measure(ranked, info)
    first = None if measure is None else _first(ranked, measure)
    if measure is None or first is None:
        return Answer(_nothing_known(ranked, info), "not known")
    trainings = len(first)
    arm = float(first[measure].mean())
    change = float(first[f"{measure}_difference"].mean())
    name = str(first.iloc[0]["configuration"])
    family = str(json.loads(first.iloc[0]["config_json"]).get("family", ""))
    searched = ranked[(ranked["repeat_of"].fillna("") == "") & ranked[measure].notna()]
    where = [f"trial {name}", family, counted(trainings, "training"), f"the best of {counted(len(searched), 'trial')}"]
    text = _estimated(measure, arm, change, info.cohort.patients, ", ".join(part for part in where if part))
    patients = _patients_to_settle(measure, arm, change, info.cohort.patients)
    more = _trainings_to_settle(change, first[f"{measure}_difference"])
    return Answer("; ".join([text, *patients, *more]) + ".", "not known", name)


def of_training(scores: Mapping[str, float], patients: Mapping[str, int]) -> Answer:
    """Returns the answer after a production training, which has no search and no `confirm` behind it.

    Args:
        scores: scores of the training.
        patients: numbers of patients by split.
    """
    measure = next((name for name in measures() if f"{name}_difference" in scores), None)
    if measure is None:
        return Answer("Not known whether synthetic images help: this training measured no detector.", "not known")
    arm = scores[measure]
    change = scores[f"{measure}_difference"]
    text = _estimated(measure, arm, change, patients, "1 training by `gansweep train`")
    return Answer("; ".join([text, *_patients_to_settle(measure, arm, change, patients)]) + ".", "not known")


def note_answer(store: Store) -> None:
    """Writes the answer to the note of the Optuna study, where the dashboard shows it.

    Has no effect without a study.
    """
    from optuna_dashboard import save_note

    with contextlib.suppress(StoreError):
        study = store.load_study()
        text = answer(store).text
        study.set_user_attr("answer", text)
        save_note(study, text)
        store.sync_study()


def _measure(trials: pd.DataFrame, info: SweepInfo) -> str | None:
    """Returns the first measure whose difference the trials have."""
    for name in measures(info.objectives):
        if f"{name}_difference" in trials and trials[f"{name}_difference"].notna().any():
            return name
    return None


def _first(ranked: pd.DataFrame, measure: str) -> pd.DataFrame | None:
    """Returns the counted trainings of the highest-ranked configuration whose change was measured."""
    usable = ranked[ranked["counts"] & ranked["status"].isin(["completed", "stopped"]) & (ranked["infeasible"] == "")]
    usable = usable[usable[measure].notna() & usable[f"{measure}_difference"].notna()]
    if usable.empty:
        return None
    lead = usable.iloc[0]
    like = (usable["configuration"] == lead["configuration"]) & (usable["status"] == lead["status"])
    same: pd.DataFrame = usable.loc[like]
    return same


def _nothing_known(ranked: pd.DataFrame, info: SweepInfo) -> str:
    is_usable = ranked["status"].isin(["completed", "stopped"]) & (ranked["repeat_of"].fillna("") == "")
    ended = int(is_usable.sum())
    of = f"{of_asked(ended, info.trials)} ended with a generator"
    if ended and (ranked.loc[is_usable, "infeasible"] != "").all():
        bounds = constraints_text(info.constraints)
        return f"Not known yet whether synthetic images help: {of}, and none of them keeps the constraints ({bounds})."
    why = "none of them measured a detector with and without them" if ended else "a first one would give an estimate"
    return f"Not known yet whether synthetic images help: {of}, and {why}."


def _estimated(measure: str, arm: float, change: float, patients: Mapping[str, int], where: str) -> str:
    """Returns the first part of the sentence: what the validation patients show."""
    from gansweep.scoring.statistics.proportions import ABOUT_ALL_PATIENTS, difference_interval

    interval = ""
    if measure in ABOUT_ALL_PATIENTS and patients.get("val"):
        low, high = difference_interval(arm, arm - change, patients["val"])
        interval = f"95 % interval {points(low)} to {points(high)}; "
    looked_at = counted(patients["val"], "validation patient") if patients.get("val") else "validation patients"
    return (
        f"Not known yet whether synthetic images help: on {looked_at} adding them changed {measure} by "
        f"{points(change)} points ({interval}{where})"
    )


def _patients_to_settle(measure: str, arm: float, change: float, patients: Mapping[str, int]) -> Iterator[str]:
    """Describes what the test patients can show, and how many would be needed to show the change seen so far."""
    from gansweep.scoring.statistics.proportions import ABOUT_ALL_PATIENTS, cases_needed, detectable

    if measure not in ABOUT_ALL_PATIENTS or not patients.get("val"):
        return
    claims = len(ConfirmOptions().ratios) + 1  # plus one for synthetic images only
    test = patients.get("test", 0)
    if test:
        least = detectable(arm, arm - change, test, known_from=patients["val"], claims=claims)
        can = f"would show a change of about {100 * least:.0f} points or more"
        yield (
            f"the {counted(test, 'test patient')} of `gansweep confirm` "
            f"{can if least < 1 else 'are too few to show any change'}"
        )
    if abs(change) < NO_CHANGE:
        return
    needed = cases_needed(arm, arm - change, known_from=patients["val"], claims=claims)
    if needed is not None:
        more = f" ({about(needed - test)} more)" if needed > test else ""
        yield f"to show a change of this size would take {about(needed)} test patients{more}"


def _trainings_to_settle(change: float, changes: pd.Series[float]) -> Iterator[str]:
    """Describes how many more trainings would show the change with 80 % power: its mean is then 2.8 standard errors."""
    from gansweep.scoring.statistics.elementary import LEAST_TRAININGS

    needed = LEAST_TRAININGS
    if len(changes) > 1 and abs(change) >= NO_CHANGE:
        needed = max(needed, math.ceil((2.8 * float(changes.std(ddof=1)) / change) ** 2))
    more = needed - len(changes)
    if more > 0:
        many = more >= 100  # fewer have no more than two digits
        trainings = f"{about(more, _MOST_TRAININGS)} more trainings" if many else counted(more, "more training")
        yield f"and {trainings} with other seeds (`gansweep repeat`)"
