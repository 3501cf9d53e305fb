"""The answer of a search in one sentence: whether synthetic images help, by how much, and how certain that is.

If segmenters were judged too, a second sentence says the same of pairs of image and mask.

The sentence is built only here. `confirm`, `status`, `leaderboard`, the report, the model card, `evidence.json` and the
note of the Optuna study show it in the same words.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from gansweep.errors import StoreError
from gansweep.options import ConfirmOptions
from gansweep.scoring.metrics.formatting import is_proportion
from gansweep.search.confirmation_file import POOLED, RESULT, confirmation
from gansweep.store.feasibility import constraints_text
from gansweep.store.ranking import rank_trials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from gansweep.store.schema import SweepInfo
    from gansweep.store.store import Store

__all__ = [
    "Answer",
    "Claim",
    "answer",
    "claims_of",
    "confirmed",
    "note_answer",
    "of_training",
    "so_far",
]

State = Literal["helps", "no evidence", "harms", "not known"]

_REPLACING = "synthetic only"
"""The arm without real images. The answer is about adding synthetic images to them, so this arm is a control."""
_OPENING = {
    "helps": "Synthetic images help",
    "harms": "Synthetic images harm",
    "no evidence": "No evidence that synthetic images help",
}
_OPENING_OF_MASKS = {
    "helps": "Synthetic pairs of image and mask help segmentation",
    "harms": "Synthetic pairs of image and mask harm segmentation",
    "no evidence": "No evidence that synthetic pairs of image and mask help segmentation",
}
_MEASURES = ("accuracy", "auroc", "sensitivity", "specificity")
_MASK_MEASURE = "dice"
_LEVEL = 0.05  # significance level of `confirm`'s verdicts
_MOST_NEEDED = 10_000
"""Above this number of patients, the answer only says that no study at one hospital will show the change."""


@dataclass(frozen=True)
class Answer:
    """Result of a search about synthetic images.

    Args:
        text: one sentence, and a second one if segmenters were judged.
        state: the verdict about detectors; `not known` before `confirm`.
        trial_id: trial that the first sentence is about; empty if there is none.
    """

    text: str
    state: State
    trial_id: str = ""


@dataclass(frozen=True)
class Claim:
    """One comparison of `confirm`: an arm against the real images of its leader.

    Args:
        trial_id, family: trial and family of the leader.
        arm: name of the arm.
        values: the comparison as stored in `confirm.json`.
        rival: arm of the best rival; empty if there was none.
        over_rival: comparison with the best rival.
    """

    trial_id: str
    family: str
    arm: str
    values: Mapping[str, Any]
    rival: str = ""
    over_rival: Mapping[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """Arm minus base."""
        return float(self.values["difference"])


def answer(store: Store) -> Answer:
    """Returns the answer of a sweep: that of `confirm` if it was run, else what is known so far.

    Args:
        store: the sweep's store.
    """
    try:
        found = confirmation(store)
    except StoreError:
        return Answer(f"Not known: {RESULT}, the result of `gansweep confirm`, cannot be read.", "not known")
    return so_far(store.latest_trials(), store.info) if found is None else confirmed(found)


def claims_of(result: Mapping[str, Any], metric: str) -> list[Claim]:
    """Returns every claim about one metric, in the order of leaders and arms.

    P-values are corrected over all of them.
    """
    claims = []
    for leader in result["leaders"]:
        judged = leader if metric != _MASK_MEASURE else leader.get("segmentation") or {}
        for arm, comparisons in judged.get("comparisons", {}).items():
            if metric not in comparisons:
                continue
            claim = Claim(
                trial_id=leader["trial_id"],
                family=leader.get("config", {}).get("family", ""),
                arm=arm,
                values=comparisons[metric],
                rival=judged.get("best_rival", {}).get(metric, ""),
                over_rival=judged.get("over_rival", {}).get(arm, {}).get(metric, {}),
            )
            claims.append(claim)
    return claims


def confirmed(result: Mapping[str, Any]) -> Answer:
    """Returns the answer from the test patients: a sentence about detectors and, if any were judged, about segmenters.

    Each is about the arm with the strongest evidence among those that add synthetic images: an arm that helps if there
    is one, else an arm that harms, else the arm with the largest change. The p-values are corrected over all arms, so
    this choice is valid.

    Args:
        result: return value of `gansweep confirm`.
    """
    found = _of_detectors(result)
    of_segmenters = _of_segmenters(result)
    return replace(found, text=f"{found.text} {of_segmenters}") if of_segmenters else found


def _of_detectors(result: Mapping[str, Any]) -> Answer:
    metric = next((name for name in _MEASURES if claims_of(result, name)), None)
    if metric is None:
        why = _why_absent(result["leaders"])
        return Answer(f"Not known whether synthetic images help: no arm could be compared ({why}).", "not known")
    claims = claims_of(result, metric)
    best = _best(claims)
    text = f"{_OPENING[best.values['verdict']]}: {_change(best, claims, metric)}"
    parts = [text, *_further(best, claims), *_opened_again(result)]
    return Answer("; ".join(parts) + ".", best.values["verdict"], best.trial_id)


def _of_segmenters(result: Mapping[str, Any]) -> str:
    """Returns the sentence about segmenters; empty if none were judged."""
    judged = [leader["segmentation"] for leader in result["leaders"] if leader.get("segmentation")]
    if not judged:
        return ""
    claims = claims_of(result, _MASK_MEASURE)
    if not claims:
        what = "synthetic pairs of image and mask help segmentation"
        return f"Not known whether {what}: no arm could be compared ({_why_absent(judged)})."
    best = _best(claims)
    change = _change(best, claims, _MASK_MEASURE, " with a lesion,")
    return "; ".join([f"{_OPENING_OF_MASKS[best.values['verdict']]}: {change}", *_further(best, claims)]) + "."


def _why_absent(judged: list[Mapping[str, Any]]) -> str:
    reasons = [reason for one in judged for by_metric in one["absent"].values() for reason in by_metric.values()]
    return min(reasons, default="no arm was trained")


def _best(claims: list[Claim]) -> Claim:
    """Returns the claim with the strongest evidence among the arms that add synthetic images."""
    return min([claim for claim in claims if claim.arm != _REPLACING] or claims, key=_strength)


def _change(best: Claim, claims: list[Claim], metric: str, which: str = "") -> str:
    """Describes the change that an arm made, with its interval, and where it was measured."""
    values = best.values
    trials = best.trial_id.split(POOLED)
    named = f"trial {trials[0]}" if len(trials) == 1 else f"trials {' and '.join(trials)} together"
    where = ", ".join(part for part in (named, best.family, best.arm) if part)
    undecided = values["verdict"] == "no evidence" and len(claims) > 1
    among = ", the best of " + _count(len(claims), "arm") if undecided else ""
    return (
        f"adding them changed {metric} by {_points(values['difference'])} points "
        f"(95 % interval {_points(values['low'])} to {_points(values['high'])}) on "
        f"{_count(values['patients'], 'test patient')}{which} with {_count(values['trainings'], 'training')} per arm "
        f"({where}{among}; {_p(values['p'])}, corrected for {_count(len(claims), 'arm')})"
    )


def _further(best: Claim, claims: list[Claim]) -> Iterator[str]:
    yield from _against_rival(best)
    yield from _others(claims, best)
    yield from _needed(best, len(claims))


def so_far(trials: pd.DataFrame, info: SweepInfo) -> Answer:
    """Returns the answer before `confirm`: what the validation patients show, and what evidence is still missing.

    Args:
        trials: one row per trial.
        info: record of the sweep.
    """
    measure = _measure(trials, info)
    first = None if measure is None else _first(trials, info, measure)
    if measure is None or first is None:
        return Answer(_nothing_known(trials, info), "not known")
    trainings = len(first)
    arm = float(first[measure].mean())
    change = float(first[f"{measure}_difference"].mean())
    name = str(first.iloc[0]["configuration"])
    family = str(first.iloc[0].get("config.family") or "")
    searched = trials[trials["repeat_of"].fillna("") == ""]
    where = [f"trial {name}", family, _count(trainings, "training"), f"the best of {_count(len(searched), 'trial')}"]
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
    measure = next((name for name in _MEASURES if f"{name}_difference" in scores), None)
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


def _against_rival(best: Claim) -> Iterator[str]:
    """Describes how the arm compares with the cheapest way to get more out of few patients."""
    if not best.over_rival:
        return
    change = best.over_rival
    found = f"{_points(change['difference'])} points ({_points(change['low'])} to {_points(change['high'])})"
    beaten = "that is more than real images alone give, but " if _shown(best) else ""
    yield f"{beaten}against the best rival, {best.rival}, it is {found}"


def _shown(best: Claim) -> bool:
    """Returns whether a change was shown against the base but not against the best rival."""
    better_than_base = best.difference > 0 and best.values["p"] < _LEVEL
    return better_than_base and best.values["verdict"] == "no evidence"


def _strength(claim: Claim) -> tuple[int, float, float]:
    order = ("helps", "harms", "no evidence").index(claim.values["verdict"])
    return order, float(claim.values["p"]), -claim.difference


def _others(claims: list[Claim], best: Claim) -> Iterator[str]:
    """Describes verdicts that differ from the one reported."""
    verdicts = [claim.values["verdict"] for claim in claims]
    if verdicts.count(best.values["verdict"]) == len(claims):
        return
    parts = []
    for verdict in _OPENING:
        count = verdicts.count(verdict)
        if not count:
            continue
        if verdict == "no evidence":
            parts.append(f"{count} without evidence")
        else:
            parts.append(f"{count} {verdict if count == 1 else verdict.removesuffix('s')}")
    yield f"of {_count(len(claims), 'arm')} {', '.join(parts)}"


_NO_CHANGE = 1e-9
"""A smaller difference of two proportions is a rounding error."""


def _needed(best: Claim, claims: int) -> Iterator[str]:
    """Describes how many test patients would show a change that was not significant."""
    from gansweep.scoring.statistics.proportions import strictest_factor

    undecided = best.values["verdict"] == "no evidence" and not _shown(best)
    # A result of an earlier version lacks `detectable`.
    if not undecided or abs(best.difference) < _NO_CHANGE or "detectable" not in best.values:
        return
    # Standard errors fall with the square root of the number of patients.
    ratio = float(best.values["detectable"]) * strictest_factor(claims) / abs(best.difference)
    yield f"to show a change of this size would take {_about(best.values['patients'] * ratio**2)} test patients"


def _opened_again(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("reason"):
        yield "the test patients had been opened before"


def _measure(trials: pd.DataFrame, info: SweepInfo) -> str | None:
    """Returns the score that measures the benefit of synthetic images.

    The last objective with a difference, or accuracy.
    """
    aims = [objective.name for objective in info.objectives if objective.direction == "maximize"]
    for name in (*reversed(aims), *_MEASURES):
        if f"{name}_difference" in trials and trials[f"{name}_difference"].notna().any():
            return name
    return None


def _first(trials: pd.DataFrame, info: SweepInfo, measure: str) -> pd.DataFrame | None:
    """Returns the counted trainings of the highest-ranked configuration whose change was measured."""
    ranked = rank_trials(trials, info.objectives, info.constraints)
    usable = ranked[ranked["counts"] & ranked["status"].isin(["completed", "stopped"]) & (ranked["infeasible"] == "")]
    usable = usable[usable[measure].notna() & usable[f"{measure}_difference"].notna()]
    if usable.empty:
        return None
    lead = usable.iloc[0]
    like = (usable["configuration"] == lead["configuration"]) & (usable["status"] == lead["status"])
    same: pd.DataFrame = usable.loc[like]
    return same


def _nothing_known(trials: pd.DataFrame, info: SweepInfo) -> str:
    ranked = rank_trials(trials, info.objectives, info.constraints)
    is_usable = ranked["status"].isin(["completed", "stopped"])
    ended = int(is_usable.sum())
    of = f"{ended} of {info.trials} trials ended with a generator"
    if ended and (ranked.loc[is_usable, "infeasible"] != "").all():
        bounds = constraints_text(info.constraints)
        return f"Not known yet whether synthetic images help: {of}, and none of them keeps the constraints ({bounds})."
    why = "none of them measured a detector with and without them" if ended else "a first one would give an estimate"
    return f"Not known yet whether synthetic images help: {of}, and {why}."


def _estimated(measure: str, arm: float, change: float, patients: Mapping[str, int], where: str) -> str:
    """Returns the first part of the sentence: what the validation patients show."""
    interval = ""
    if is_proportion(measure) and patients.get("val"):
        from gansweep.scoring.statistics.proportions import difference_interval

        low, high = difference_interval(arm, arm - change, patients["val"])
        interval = f"95 % interval {_points(low)} to {_points(high)}; "
    looked_at = _count(patients["val"], "validation patient") if patients.get("val") else "validation patients"
    return (
        f"Not known yet whether synthetic images help: on {looked_at} adding them changed {measure} by "
        f"{_points(change)} points ({interval}{where})"
    )


def _patients_to_settle(measure: str, arm: float, change: float, patients: Mapping[str, int]) -> Iterator[str]:
    """Describes what the test patients can show, and how many would be needed to show the change seen so far."""
    if not is_proportion(measure) or not patients.get("val"):
        return
    from gansweep.scoring.statistics.proportions import cases_needed, detectable

    claims = len(ConfirmOptions().ratios) + 1  # plus one for synthetic images only
    test = patients.get("test", 0)
    if test:
        least = detectable(arm, arm - change, test, known_from=patients["val"], claims=claims)
        can = f"would show a change of about {100 * least:.0f} points or more"
        yield (
            f"the {_count(test, 'test patient')} of `gansweep confirm` "
            f"{can if least < 1 else 'are too few to show any change'}"
        )
    needed = cases_needed(arm, arm - change, known_from=patients["val"], claims=claims)
    if needed is not None:
        more = f" ({_about(needed - test)} more)" if needed > test else ""
        yield f"to show a change of this size would take {_about(needed)} test patients{more}"


def _trainings_to_settle(change: float, changes: pd.Series[float]) -> Iterator[str]:
    """Describes how many more trainings would show the change with 80 % power: its mean is then 2.8 standard errors."""
    from gansweep.scoring.statistics.elementary import LEAST_TRAININGS

    needed = LEAST_TRAININGS
    if len(changes) > 1 and change:
        needed = max(needed, math.ceil((2.8 * float(changes.std(ddof=1)) / change) ** 2))
    if needed > len(changes):
        yield f"and {_count(needed - len(changes), 'more training')} with other seeds (`gansweep repeat`)"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _about(n: float) -> str:
    """Rounds a number of patients up to two significant digits. More digits would suggest false precision."""
    whole = math.ceil(n)
    if whole > _MOST_NEEDED:
        return f"more than {_MOST_NEEDED}"
    step = 10 ** max(0, len(str(whole)) - 2)
    return f"about {math.ceil(whole / step) * step}"
