"""A sweep as notebooks show it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from gansweep.store.sweep_info import SweepInfo

__all__ = ["sweep_table"]


def sweep_table(info: SweepInfo, label: str, trials: pd.DataFrame) -> str:
    """Returns a summary of a sweep as an HTML table.

    Args:
        info: record of the sweep.
        label: location of its store, without credentials.
        trials: its trials, one row each.
    """
    counts = ", ".join(f"{count} {status}" for status, count in trials["status"].value_counts().items())
    rows = {
        "sweep": f"{info.name} at {label}",
        "space": info.space,
        "cohort": f"{info.cohort.content_hash[:12]}: {', '.join(info.cohort.classes)}",
        "objectives": ", ".join(f"{item.name} ({item.direction})" for item in info.objectives),
        "trials": f"{len(trials)} of {info.trials}: {counts or 'none yet'}",
        "created": f"{info.created:%Y-%m-%d %H:%M} UTC",
    }
    cells = "".join(f"<tr><th>{key}</th><td>{html.escape(text)}</td></tr>" for key, text in rows.items())
    return f"<table>{cells}</table>"
