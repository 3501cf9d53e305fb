"""Reads `confirm.json`, the result of `gansweep confirm`, and checks it before anybody quotes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gansweep.config import validated
from gansweep.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from gansweep.store.store import Store

__all__ = ["POOLED", "RESULT", "confirmation"]

RESULT = "confirm.json"
POOLED = "+"
"""Joins the trials whose images were pooled, where `confirm.json` names a leader."""


class _Part(BaseModel):
    """Keys that every version has written. Later versions add others."""

    model_config = ConfigDict(extra="allow")


class _Comparison(_Part):
    difference: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    verdict: Literal["helps", "no evidence", "harms"]
    patients: int = Field(ge=1)
    trainings: int = Field(ge=1)


class _Leader(_Part):
    trial_id: str
    arms: dict[str, dict[str, tuple[float, float, float]]]
    comparisons: dict[str, dict[str, _Comparison]]
    over_rival: dict[str, dict[str, _Comparison]] = Field(default_factory=dict)
    absent: dict[str, dict[str, str]]


class _Result(_Part):
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
        validated(_Result, found, where=where)
    except ConfigError as error:
        raise StoreError(f"is no result of `gansweep confirm`: {error.what}", where=where, fix=fix) from None
    return found
