"""The figures of memorisation tests for the report, which shows no picture: it would show patients."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gansweep.report.formatting import value_text
from gansweep.scoring.memorisation.evidence import MemorisationEvidence
from gansweep.store.artifacts import memorisation_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.report.rows import LeaderboardRow
    from gansweep.store.store import Store

__all__ = ["memorisation_tests"]

log = logging.getLogger(__name__)


def memorisation_tests(store: Store, rows: Sequence[LeaderboardRow]) -> list[dict[str, Any]]:
    """Returns one entry per exported trial, in the order of the leaderboard, for the report's template.

    Args:
        store: the sweep's store.
        rows: the leaderboard.
    """
    found = []
    for row in rows:
        evidence = _evidence(store, row.trial_id)
        if evidence is not None:
            found.append(
                {
                    "trial": row.trial_id,
                    "verdict": _verdict(evidence),
                    "counts": ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in evidence.counts.items()),
                    "sources": evidence.sources,
                    "figures": [_figure(name, figure, evidence.limits) for name, figure in evidence.figures.items()],
                }
            )
    return found


def _evidence(store: Store, trial_id: str) -> MemorisationEvidence | None:
    place = memorisation_path(trial_id)
    if not store.exists(place):
        return None
    try:
        return MemorisationEvidence.model_validate_json(store.read_bytes(place))
    except ValidationError:
        log.warning("the report lacks the memorisation test of trial %s: %s is damaged", trial_id, place)
        return None


def _verdict(evidence: MemorisationEvidence) -> str:
    if evidence.memorised is None:
        return f"not checked: {evidence.reason}"
    return f"memorised: {evidence.reason}" if evidence.memorised else "no figure exceeds its limit"


def _figure(name: str, figure: dict[str, Any], limits: dict[str, float]) -> dict[str, str]:
    measure = name.rpartition("_")[0]
    shown = {"name": name.replace("_", " "), "value": "absent", "interval": "", "limit": "", "remark": ""}
    if measure in limits:
        shown["limit"] = value_text(limits[measure])
    if figure.get("value") is not None:
        shown["value"] = value_text(figure["value"])
        shown["interval"] = f"{value_text(figure['low'])} to {value_text(figure['high'])}"
    shown["remark"] = figure.get("reason", "")
    return shown
