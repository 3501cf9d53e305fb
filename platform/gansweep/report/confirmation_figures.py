"""Results on the test patients for the report: a table of arms, ROC curves and confusion matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.report.drawing import COLOURS, INK, drawn, figure_of, name_axes
from gansweep.scoring.metrics.formatting import points, score_text
from gansweep.search.confirmed_answer import USUAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    import plotly.graph_objects as go

__all__ = ["arm_rows", "confusion_tables", "mask_arm_rows", "roc_figure", "without_segmentation"]

_MEASURES = (USUAL, "sensitivity", "specificity", "auroc")
_MASK_MEASURES = ("dice",)
_DASHES = ("solid", "dash", "dot", "dashdot")


def arm_rows(result: Mapping[str, Any], aim: str = USUAL) -> list[dict[str, str]]:
    """Returns one row per leader and arm: each metric with its interval, differences and verdicts.

    `difference` and `verdict` are about the aim. If that is not accuracy, `usual_difference` and `usual_verdict` are
    about accuracy.

    Args:
        result: result of `gansweep confirm`.
        aim: metric that the answer is about.
    """
    rows = []
    for leader in result["leaders"]:
        rows += _rows_of(leader["trial_id"], leader, _MEASURES, aim)
    return rows


def mask_arm_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns one row per leader and arm of segmenters: dice with its interval, the difference in it, and the verdict.

    Args:
        result: result of `gansweep confirm`.
    """
    rows = []
    for leader in result["leaders"]:
        if leader.get("segmentation"):
            rows += _rows_of(leader["trial_id"], leader["segmentation"], _MASK_MEASURES, "dice")
    return rows


def without_segmentation(result: Mapping[str, Any]) -> dict[str, str]:
    """Returns by trial why its segmenters were not judged although its generator draws masks.

    Args:
        result: result of `gansweep confirm`.
    """
    reasons = {leader["trial_id"]: leader.get("no_segmentation") for leader in result["leaders"]}
    return {trial_id: reason for trial_id, reason in reasons.items() if reason}


def _rows_of(trial_id: str, judged: Mapping[str, Any], measures: tuple[str, ...], aim: str) -> list[dict[str, str]]:
    """Returns one row per arm. See `arm_rows`."""
    rows = []
    for arm, measured in judged["arms"].items():
        claims = judged["comparisons"].get(arm) or judged.get("rivals", {}).get(arm, {})
        row = {"trial": trial_id, "arm": arm}
        for name in measures:
            row[name] = _interval(name, *measured[name]) if name in measured else "-"
        shown = {"": aim}
        if USUAL in measures and aim != USUAL:
            shown["usual_"] = USUAL
        for prefix, metric in shown.items():
            claim = claims.get(metric)
            row[f"{prefix}difference"] = _difference(claim) if claim else ""
            row[f"{prefix}verdict"] = claim["verdict"] if claim else ""
        rows.append(row)
    return rows


def roc_figure(result: Mapping[str, Any]) -> go.Figure | None:
    """Returns the ROC curves of the first leader's arms; None if they were not stored.

    Args:
        result: result of `gansweep confirm`.
    """
    curves = {name: curve for name, curve in _first_curves(result).items() if "fpr" in curve}
    if not curves:
        return None
    figure = figure_of(height=480)
    for number, (name, curve) in enumerate(curves.items()):
        figure.add_scatter(
            x=drawn("specificity", curve["fpr"]),
            y=drawn("sensitivity", curve["tpr"]),
            mode="lines",
            name=name,
            # Colours repeat. The dashes distinguish the arms, also for readers who cannot see colours.
            line={"color": COLOURS[number % len(COLOURS)], "dash": _DASHES[number // len(COLOURS) % len(_DASHES)]},
        )
    figure.add_scatter(x=[0, 100], y=[0, 100], mode="lines", name="guessing", line={"color": INK, "width": 1})
    name_axes(figure, x="100 % - specificity", y="sensitivity, %")
    return figure


def confusion_tables(result: Mapping[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the confusion matrices of the first leader's arms: mean numbers of images over the trainings.

    Args:
        result: result of `gansweep confirm`.
        classes: class names in label order.
    """
    tables = []
    for arm, curve in _first_curves(result).items():
        rows = []
        for name, counts in zip(classes, curve["confusion"], strict=True):
            rows.append((name, [f"{count:.1f}".removesuffix(".0") for count in counts]))
        tables.append({"arm": arm, "rows": rows})
    return tables


def _first_curves(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the curves of the first leader by arm; empty if there are none."""
    leaders = result["leaders"]
    curves: Mapping[str, Any] = leaders[0].get("curves", {}) if leaders else {}
    return curves


def _interval(name: str, value: float, low: float, high: float) -> str:
    bounds = " to ".join(score_text(name, bound).removesuffix(" %") for bound in (low, high))
    return f"{score_text(name, value)} ({bounds})"


def _difference(claim: Mapping[str, Any]) -> str:
    bounds = " to ".join(points(claim[bound]) for bound in ("low", "high"))
    return f"{points(claim['difference'])} pp ({bounds})"
