"""The answer of `confirm` in words: a sentence about detectors and, if any were judged, one about segmenters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from gansweep.errors import counted
from gansweep.scoring.metrics.formatting import p_text, points
from gansweep.search.confirmation_file import POOLED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gansweep.config import Objective

__all__ = ["NO_CHANGE", "USUAL", "Answer", "Claim", "about", "aim_of", "claims_of", "confirmed", "measures"]

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
USUAL = "accuracy"
"""Metric whose verdicts are shown whatever the sweep aims at."""

_MEASURES = (USUAL, "auroc", "sensitivity", "specificity")
"""Metrics of detectors that `confirm` compares, the first measured one by default."""
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


def confirmed(result: Mapping[str, Any], objectives: Sequence[Objective] = ()) -> Answer:
    """Returns the answer from the test patients: a sentence about detectors and, if any were judged, about segmenters.

    Each is about the arm with the strongest evidence among those that add synthetic images: an arm that helps if there
    is one, else an arm that harms, else the arm with the largest change. The p-values are corrected over all arms, so
    this choice is valid.

    Args:
        result: return value of `gansweep confirm`.
        objectives: objectives of the sweep, which decide on the measure.
    """
    found = _of_detectors(result, objectives)
    of_segmenters = _of_segmenters(result)
    return replace(found, text=f"{found.text} {of_segmenters}") if of_segmenters else found


def aim_of(result: Mapping[str, Any], objectives: Sequence[Objective] = ()) -> str:
    """Returns the metric of detectors that the answer is about; accuracy if no arm could be compared.

    Args:
        result: return value of `gansweep confirm`.
        objectives: objectives of the sweep.
    """
    names = [name for name in measures(objectives) if name != _MASK_MEASURE]
    return next((name for name in names if claims_of(result, name)), USUAL)


def _of_detectors(result: Mapping[str, Any], objectives: Sequence[Objective]) -> Answer:
    metric = aim_of(result, objectives)
    claims = claims_of(result, metric)
    if not claims:
        why = _why_absent(result["leaders"])
        return Answer(f"Not known whether synthetic images help: no arm could be compared ({why}).", "not known")
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
    among = ", the best of " + counted(len(claims), "arm") if undecided else ""
    return (
        f"adding them changed {metric} by {points(values['difference'])} points "
        f"(95 % interval {points(values['low'])} to {points(values['high'])}) on "
        f"{counted(values['patients'], 'test patient')}{which} with {counted(values['trainings'], 'training')} per arm "
        f"({where}{among}; {p_text(values['p'])}, corrected for {counted(len(claims), 'arm')})"
    )


def _further(best: Claim, claims: list[Claim]) -> Iterator[str]:
    yield from _against_rival(best)
    yield from _others(claims, best)
    yield from _needed(best, len(claims))


def _against_rival(best: Claim) -> Iterator[str]:
    """Describes how the arm compares with the cheapest way to get more out of few patients."""
    if not best.over_rival:
        return
    change = best.over_rival
    found = f"{points(change['difference'])} points ({points(change['low'])} to {points(change['high'])})"
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
    yield f"of {counted(len(claims), 'arm')} {', '.join(parts)}"


NO_CHANGE = 1e-9
"""A smaller difference of two proportions is a rounding error."""


def _needed(best: Claim, claims: int) -> Iterator[str]:
    """Describes how many test patients would show a change that was not significant."""
    from gansweep.scoring.statistics.proportions import strictest_factor

    undecided = best.values["verdict"] == "no evidence" and not _shown(best)
    # A result of an earlier version lacks `detectable`.
    if not undecided or abs(best.difference) < NO_CHANGE or "detectable" not in best.values:
        return
    # Standard errors fall with the square root of the number of patients.
    ratio = float(best.values["detectable"]) * strictest_factor(claims) / abs(best.difference)
    yield f"to show a change of this size would take {about(best.values['patients'] * ratio**2)} test patients"


def _opened_again(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("reason"):
        yield "the test patients had been opened before"


def measures(objectives: Sequence[Objective] = ()) -> list[str]:
    """Returns the scores that can measure the benefit of synthetic images, the sweep's own aim first.

    The same order decides before and after `confirm`, so that both are about the same score. A maximised objective that
    `confirm` does not compare is last.
    """
    aims = [objective.name for objective in reversed(objectives) if objective.direction == "maximize"]
    compared = [name for name in aims if name in _MEASURES]
    return list(dict.fromkeys([*compared, *_MEASURES, *aims]))


def about(n: float, most: int = _MOST_NEEDED) -> str:
    """Rounds a number up to two significant digits. More digits would suggest false precision."""
    whole = math.ceil(n)
    if whole > most:
        return f"more than {most}"
    step = 10 ** max(0, len(str(whole)) - 2)
    return f"about {math.ceil(whole / step) * step}"
