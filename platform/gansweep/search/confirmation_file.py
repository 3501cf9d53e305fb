"""Reads `confirm.json`, the result of `gansweep confirm`, and checks it before anybody quotes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from gansweep.config import validated
from gansweep.errors import ConfigError, StoreError
from gansweep.scoring.statistics.elementary import LEAST_TRAININGS
from gansweep.store.schema import SHARES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.store.store import Store

__all__ = ["POOLED", "RESULT", "confirmation"]

RESULT = "confirm.json"
POOLED = "+"
"""Joins the trials whose images were pooled, where `confirm.json` names a leader."""

_LEVEL = 0.05  # significance level of the verdicts
_ROUNDING = 1e-9
"""Tolerance of sums of floating-point numbers."""


class _Part(BaseModel):
    """Keys that are read. Those with a default are missing in results of earlier versions; later ones add others."""

    model_config = ConfigDict(extra="allow")


class _Comparison(_Part):
    difference: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    p: float = Field(ge=0, le=1)
    verdict: Literal["helps", "no evidence", "harms"]
    patients: int = Field(ge=1)
    trainings: int = Field(ge=1)
    detectable: FiniteFloat = Field(0.0, ge=0)


class _Curve(_Part):
    confusion: list[list[FiniteFloat]]
    fpr: list[FiniteFloat] = Field(default_factory=list)
    tpr: list[FiniteFloat] = Field(default_factory=list)


class _Config(_Part):
    family: str = ""


class _Arms(_Part):
    """Arms of detectors or of segmenters."""

    arms: dict[str, dict[str, tuple[FiniteFloat, FiniteFloat, FiniteFloat]]]
    comparisons: dict[str, dict[str, _Comparison]]
    rivals: dict[str, dict[str, _Comparison]] = Field(default_factory=dict)
    best_rival: dict[str, str] = Field(default_factory=dict)
    over_rival: dict[str, dict[str, _Comparison]] = Field(default_factory=dict)
    absent: dict[str, dict[str, str]]


class _Segmentation(_Arms):
    images: int = Field(ge=1)
    patients: int = Field(ge=1)


class _Leader(_Arms):
    trial_id: str
    config: _Config = _Config()
    curves: dict[str, _Curve] = Field(default_factory=dict)
    segmentation: _Segmentation | None = None
    no_segmentation: str = ""


class _Result(_Part):
    opened: AwareDatetime | None = None
    leaders: list[_Leader]


def confirmation(store: Store) -> dict[str, Any] | None:
    """Returns the result of `gansweep confirm`, or None if it has not finished.

    Raises:
        StoreError: the file is damaged, or was there and is gone. The message names what is wrong with it.
    """
    where = f"{store.label}/{RESULT}"
    fix = "put back a copy of it"
    if not store.exists(RESULT):
        if any(opening.judged for opening in store.info.test_openings):
            raise StoreError("is missing, although `gansweep confirm` wrote it", where=where, fix=fix)
        return None
    try:
        found = json.loads(store.read_bytes(RESULT))
    except (ValueError, RecursionError):
        raise StoreError("not valid JSON", where=where, fix=fix) from None
    if not isinstance(found, dict):
        raise StoreError("is no result of `gansweep confirm`", where=where, fix=fix)
    try:
        contradiction = _contradiction(validated(_Result, found, where=where), store)
    except ConfigError as error:
        contradiction = error.what
    if contradiction:
        raise StoreError(f"is no result of `gansweep confirm`: {contradiction}", where=where, fix=fix)
    return found


def _changes(found: _Arms) -> Iterator[tuple[str, _Comparison]]:
    """Yields each metric's name with a comparison."""
    for by_arm in (found.comparisons, found.rivals, found.over_rival):
        for by_metric in by_arm.values():
            yield from by_metric.items()


def _contradicted_number(found: _Arms) -> str:
    """Returns which value, difference or verdict contradicts the numbers beside it; empty if none does."""
    for arm, by_metric in found.arms.items():
        for name, (value, low, high) in by_metric.items():
            if not low - _ROUNDING <= value <= high + _ROUNDING:
                return f"the {name} of {arm!r} is {value:g}, its interval {low:g} to {high:g}"
            if name in SHARES and not -_ROUNDING <= value <= 1 + _ROUNDING:
                return f"the {name} of {arm!r} is {value:g}, no share"
    for name, change in _changes(found):
        if not change.low - _ROUNDING <= change.difference <= change.high + _ROUNDING:
            return f"the difference in {name} is {change.difference:g}, its interval {change.low:g} to {change.high:g}"
        if name in SHARES and abs(change.difference) > 1 + _ROUNDING:
            return f"the difference in {name} is {change.difference:g}, more than all patients"
        if unfounded := _unfounded(name, change):
            return unfounded
    return _unbeaten(found)


def _impossible_segmentation(leader: _Leader) -> str:
    """Returns what in the results of segmenters contradicts itself; empty if nothing does."""
    found = leader.segmentation
    if found is None:
        return ""
    if leader.no_segmentation:
        return "there are results of segmenters, and a reason why there are none"
    if found.images < found.patients:
        return f"{found.images} images with a lesion are of {found.patients} patients"
    unknown = [arm for arm in (*found.comparisons, *found.rivals, *found.over_rival) if arm not in found.arms]
    if unknown:
        return f"segmenters of {unknown[0]!r} are compared and have no values"
    for _, change in _changes(found):
        if change.patients != found.patients:
            return f"segmenters are compared on {change.patients} of {found.patients} patients with a lesion"
    return _contradicted_number(found)


def _unfounded(name: str, change: _Comparison) -> str:
    """Returns why a comparison cannot have its verdict; empty if it can.

    P-values are corrected for several arms and intervals are not. So an interval may leave out zero beside `no
    evidence`, but cannot hold it beside another verdict.
    """
    if change.verdict == "no evidence":
        return ""
    said = f"the verdict on {name} is {change.verdict!r}"
    if change.trainings < LEAST_TRAININGS:
        return f"{said} after {change.trainings} of at least {LEAST_TRAININGS} trainings per arm"
    if change.p >= _LEVEL:
        return f"{said} with p = {change.p:g}"
    if change.low < -_ROUNDING and change.high > _ROUNDING:
        return f"{said} with an interval from {change.low:g} to {change.high:g}"
    # More is better of every share.
    if name in SHARES and (change.difference > 0) != (change.verdict == "helps"):
        return f"{said} with a difference of {change.difference:g}"
    return ""


def _unbeaten(found: _Arms) -> str:
    """Returns which arm helps without being better than the best rival, which the verdict asks for; empty if none."""
    for arm, by_metric in found.comparisons.items():
        for name, change in by_metric.items():
            rival = found.over_rival.get(arm, {}).get(name)
            if change.verdict == "helps" and rival is not None and rival.verdict != "helps":
                return f"the verdict on {name} of {arm!r} is 'helps', over the best rival {rival.verdict!r}"
    return ""


def _contradiction(result: _Result, store: Store) -> str:
    """Returns what in a result cannot be of this store; empty if nothing is."""
    rows = [entry.name for entry in store.list("trials")]  # damaged ones, too, which have another name
    for leader in result.leaders:
        for trial in leader.trial_id.split(POOLED):
            if not any(f"trial-{trial}." in name for name in rows):
                return f"the store has no trial {trial!r}"
        impossible = _contradicted_number(leader) or _impossible_segmentation(leader)
        if impossible:
            return impossible
        for arm, curve in leader.curves.items():
            classes = len(store.info.cohort.classes)
            if [len(row) for row in curve.confusion] != [classes] * classes:
                return f"the confusion matrix of {arm!r} is not one of {classes} classes"
    openings = [item.opened for item in store.info.test_openings]
    if result.opened is not None and openings and result.opened not in openings:
        return f"the test patients were not opened at {result.opened}"
    return ""
