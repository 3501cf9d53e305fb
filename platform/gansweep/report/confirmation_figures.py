"""What the test patients say, for the report: a table of arms, ROC curves, and confusion matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.report.drawing import COLOURS, INK, drawn, figure_of, name_axes
from gansweep.scoring.metrics.formatting import score_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import plotly.graph_objects as go

__all__ = ["arm_rows", "confusion_tables", "roc_figure"]

_MEASURES = ("accuracy", "sensitivity", "specificity", "auroc")
_DASHES = ("solid", "dash", "dot", "dashdot")


def arm_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per leader and arm: each measure with its interval, the difference in accuracy, and the verdict.

    Args:
        result: what `gansweep confirm` left.
    """
    rows = []
    for leader in result["leaders"]:
        for arm, measured in leader["arms"].items():
            claims = leader["comparisons"].get(arm) or leader.get("rivals", {}).get(arm, {})
            claim = claims.get("accuracy")
            row = {"trial": leader["trial_id"], "arm": arm}
            row |= {name: _interval(name, *measured[name]) if name in measured else "-" for name in _MEASURES}
            row["difference"] = _difference(claim) if claim else ""
            row["verdict"] = claim["verdict"] if claim else ""
            rows.append(row)
    return rows


def roc_figure(result: Mapping[str, Any]) -> go.Figure | None:
    """The ROC curves of the arms of the first leader; None if they were not kept.

    Args:
        result: what `gansweep confirm` left.
    """
    curves = result["leaders"][0].get("curves", {}) if result["leaders"] else {}
    curves = {name: curve for name, curve in curves.items() if "fpr" in curve}
    if not curves:
        return None
    figure = figure_of(height=480)
    for number, (name, curve) in enumerate(curves.items()):
        figure.add_scatter(
            x=drawn("specificity", curve["fpr"]),
            y=drawn("sensitivity", curve["tpr"]),
            mode="lines",
            name=name,
            # Colours repeat: the dashes tell the arms apart for whoever sees no colours, too.
            line={"color": COLOURS[number % len(COLOURS)], "dash": _DASHES[number // len(COLOURS) % len(_DASHES)]},
        )
    figure.add_scatter(x=[0, 100], y=[0, 100], mode="lines", name="guessing", line={"color": INK, "width": 1})
    name_axes(figure, x="100 % - specificity", y="sensitivity, %")
    return figure


def confusion_tables(result: Mapping[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The confusion matrices of the arms of the first leader: mean numbers of images over the trainings.

    Args:
        result: what `gansweep confirm` left.
        classes: names in label order.
    """
    curves = result["leaders"][0].get("curves", {}) if result["leaders"] else {}
    return [
        {
            "arm": name,
            "rows": [
                (classes[truth], [f"{count:.1f}".removesuffix(".0") for count in counts])
                for truth, counts in enumerate(curve["confusion"])
            ],
        }
        for name, curve in curves.items()
    ]


def _interval(name: str, value: float, low: float, high: float) -> str:
    bounds = " to ".join(score_text(name, bound).removesuffix(" %") for bound in (low, high))
    return f"{score_text(name, value)} ({bounds})"


def _difference(claim: Mapping[str, Any]) -> str:
    bounds = " to ".join(f"{100 * claim[bound]:+.1f}" for bound in ("low", "high"))
    return f"{100 * claim['difference']:+.1f} pp ({bounds})"
