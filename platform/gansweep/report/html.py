"""HTML report of a sweep: one self-contained file that needs no network, suitable for mailing and archiving."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import StoreError
from gansweep.files import output_file
from gansweep.report.caveats import caveats
from gansweep.report.comparison import folded, verdict_sentences
from gansweep.report.confirmation_figures import (
    arm_rows,
    confusion_tables,
    mask_arm_rows,
    roc_figure,
    without_segmentation,
)
from gansweep.report.figures import figures
from gansweep.report.formatting import time_text, value_text
from gansweep.report.fragments import data_uri, figure_fragment, packed_plotly, rendered
from gansweep.report.leaderboard import leaderboard, searched_keys, short_names, spread_text
from gansweep.report.memorisation import memorisation_tests
from gansweep.report.pictures import kept_picture
from gansweep.report.provenance import provenance
from gansweep.report.status import sweep_status
from gansweep.report.tracking import ENOUGH, tracking
from gansweep.search.answer import answer
from gansweep.search.confirmation_file import confirmation
from gansweep.search.confirmed_answer import USUAL, aim_of
from gansweep.store.artifacts import growth_paths, sheet_path
from gansweep.store.feasibility import constraints_text
from gansweep.store.filesystem import Files
from gansweep.store.schema import flat_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna

    from gansweep.report.rows import LeaderboardRow
    from gansweep.store.store import Store
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["conclusions", "report_html", "write_report"]

log = logging.getLogger(__name__)

_SHEETS = 3  # number of leaders whose sample sheets are shown
_KEYS = 8  # maximum number of searched keys in the table
_OTHER_SCORES = ("fid_matched", "fid_floor", "kid", "auroc", "sensitivity", "specificity", "lesion_fidelity")
_CAPTIONS = {
    "Objectives": "Each point is a configuration at its last report, or the mean of its repeats. Open circles were "
    "stopped early, after a part of the budget.",
    "Gain over real images alone": "The detector trained on real and synthetic images minus the same detector trained "
    "on real images alone, both on validation patients. There are no intervals: read the caveats first.",
    "Repeated trainings": "Each point is one training of a configuration. Open circles are those of the search, which "
    "made it a leader and are not in the mean (the bar). Filled circles have new seeds. All share validation patients.",
    "ROC curves": "Sensitivity against the false alarms it costs, on the test patients: one curve per arm of the first "
    "leader, the mean over its trainings.",
    "Learning curves": "Scores at each report: the three leaders in colour, all other trials in grey.",
    "History": "Scores in the order in which the trials started.",
    "Configurations": "The searched parameters, one line per trial. Drag along an axis to select trials.",
    "What mattered": "The fraction of each objective's variance that a parameter explains (functional ANOVA over the "
    "trials that reported all objectives). With few trials, take it as a hint.",
    "Slices": "The last objective against the parameters that explain most, one point per trial.",
    "Contours": "The last objective over the two parameters that explain most, interpolated between trials (points): "
    "far from a point it is a guess.",
}


def write_report(store: Store, out: Path) -> Path:
    """Writes the report of a sweep and replaces an existing one.

    Args:
        store: the sweep's store.
        out: file to write.

    Returns:
        The absolute path of the file.

    Raises:
        StoreError: the destination cannot be written, lies in the store, or is another kind of file.
    """
    target = output_file(out, "HTML page", reads=store.local, example="report.html", error=StoreError)
    Files(str(target.parent)).write_bytes(target.name, report_html(store).encode())
    return target


def report_html(store: Store) -> str:
    """Returns the report of a sweep as one self-contained HTML page.

    Args:
        store: the sweep's store.
    """
    rows = leaderboard(store)
    status = sweep_status(store)
    info = store.info
    confirmed = _confirmation(store)
    drawn = figures(store, rows, _study(store))
    aim = USUAL if confirmed is None else aim_of(confirmed, info.objectives)
    roc = None if confirmed is None else roc_figure(confirmed)
    if roc is not None:
        drawn["ROC curves"] = roc

    return rendered(
        "report.html.j2",
        {
            "info": info,
            "answer": answer(store),
            "css": _beside("report.css"),
            "js": _beside("report.js"),
            "aim": aim,
            "arms": [] if confirmed is None else arm_rows(confirmed, aim),
            "mask_arms": [] if confirmed is None else mask_arm_rows(confirmed),
            "no_segmentation": {} if confirmed is None else without_segmentation(confirmed),
            "matrices": [] if confirmed is None else confusion_tables(confirmed, info.cohort.classes),
            "facts": _facts(info, rows),
            "caveats": caveats(info, rows, status),
            "table": _table(folded(rows), info),
            "verdicts": verdict_sentences(rows),
            "openings": [(time_text(item.opened), item.reason) for item in info.test_openings],
            "tracking": _tracking(rows),
            "enough": ENOUGH,
            "failures": status.failures,
            "sheets": _sheets(store, rows),
            "growth": _growth(store, rows),
            "memorisation": memorisation_tests(store, rows),
            "figures": {
                title: {"caption": _CAPTIONS[title], "fragment": figure_fragment(figure, title)}
                for title, figure in drawn.items()
            },
            "provenance": provenance(info),
            "plotlyjs": packed_plotly() if drawn else "",
        },
    )


def conclusions(store: Store) -> dict[str, Any]:
    """Returns the conclusions of the report as plain values for JSON: comparisons, correlations and test openings.

    Args:
        store: the sweep's store.
    """
    rows = leaderboard(store)
    info = store.info
    return {
        "answer": answer(store).text,
        "first_place": [
            {"trial_id": row.trial_id, "against_first": [asdict(item) for item in row.against_first]}
            for row in folded(rows)
            if row.against_first
        ],
        "tracking": [asdict(item) for item in tracking(rows)],
        "test_openings": [opening.model_dump(mode="json") for opening in info.test_openings],
    }


def _beside(name: str) -> str:
    """Returns the content of a file in this package."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _confirmation(store: Store) -> dict[str, Any] | None:
    """Returns the result of `confirm`, or None. If it is damaged, the answer says so."""
    try:
        return confirmation(store)
    except StoreError:
        return None


def _tracking(rows: Sequence[LeaderboardRow]) -> list[dict[str, Any]]:
    return [
        {
            "metric": item.metric.replace("_", " "),
            "gain": item.gain.removesuffix("_difference"),
            "rho": "-" if item.rho is None else f"{item.rho:+z.2f}",
            "interval": f"{item.low:+z.2f} to {item.high:+z.2f}" if item.low is not None else item.reason,
            "n": item.n,
        }
        for item in tracking(rows)
    ]


def _study(store: Store) -> optuna.Study | None:
    """Returns the Optuna study for importances, or None: the report works without it."""
    try:
        return store.load_study()
    except StoreError as error:
        if store.study_damage():
            log.warning("the report lacks importances: %s", error)
        return None


def _facts(info: SweepInfo, rows: Sequence[LeaderboardRow]) -> dict[str, str]:
    gpu_hours = sum(row.gpu_seconds for row in rows) / 3600
    hours = sum(row.seconds for row in rows) / 3600
    searched = sum(not row.repeat_of for row in rows)
    arrows = {"minimize": "↓", "maximize": "↑"}
    facts = {
        "trials": f"{searched} of {info.trials}" if info.trials else str(searched),
        "objectives": ", ".join(f"{item.name} {arrows[item.direction]}" for item in info.objectives),
        "classes": ", ".join(info.cohort.classes),
        "validation patients": str(info.cohort.patients.get("val", "unknown")),
        "workers per trial": str(info.workers_per_trial),
        "started": time_text(info.created),
        "hours of trials": f"{hours:.2f}",
    }
    if len(rows) > searched:
        facts["repeats"] = str(len(rows) - searched)
    if gpu_hours:
        facts["GPU hours"] = f"{gpu_hours:.2f}"
    known = [row.energy_joules for row in rows if math.isfinite(row.energy_joules)]
    if known:
        of = "" if len(known) == len(rows) else f" (of {len(known)} of {len(rows)} trainings)"
        facts["kWh of GPUs"] = f"{sum(known) / 3.6e6:.2f}{of}"
    return facts


def _table(rows: Sequence[LeaderboardRow], info: SweepInfo) -> dict[str, Any]:
    measured = set().union(*(row.scores for row in rows))
    objectives = [objective.name for objective in info.objectives]
    differences = [f"{name}_difference" for name in objectives]
    others = [name for name in (*differences, *_OTHER_SCORES) if name in measured and name not in objectives]
    scores = [*objectives, *others]
    keys = searched_keys(rows)[:_KEYS]
    shown = []
    for row in rows:
        config = flat_config(row.config)
        shown.append(
            {
                "trial": row,
                "scores": [spread_text(row, name, signed=name in differences) for name in scores],
                "config": [value_text(config.get(key)) for key in keys],
            }
        )
    return {
        "repeated": any(row.trainings > 1 for row in rows),
        "constraints": constraints_text(info.constraints),
        "scores": [name.replace("_difference", " minus real only").replace("_", " ") for name in scores],
        "keys": list(short_names(keys).values()),
        "rows": shown,
    }


def _growth(store: Store, rows: Sequence[LeaderboardRow]) -> list[tuple[LeaderboardRow, list[tuple[int, str]]]]:
    """Returns the leaders with their samples by iteration, if those of more than one report were kept."""
    kept = growth_paths(store)
    leaders = [row for row in folded(rows) if row.front >= 0 and len(kept.get(row.trial_id, ())) > 1]
    growth = []
    for row in leaders[:_SHEETS]:
        found = [(iteration, kept_picture(store, path)) for iteration, path in kept[row.trial_id]]
        pictures = [(iteration, data_uri(picture)) for iteration, picture in found if picture]
        if len(pictures) > 1:
            growth.append((row, pictures))
    return growth


def _sheets(store: Store, rows: Sequence[LeaderboardRow]) -> list[tuple[LeaderboardRow, str]]:
    sheets: list[tuple[LeaderboardRow, str]] = []
    for row in folded(rows):
        if row.front >= 0 and len(sheets) < _SHEETS:
            sheet = kept_picture(store, sheet_path(row.trial_id))
            if sheet:
                sheets.append((row, data_uri(sheet)))
    return sheets
