"""Leaderboard of a sweep, best trial first: as rows, as a table and as a JSON document."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gansweep.errors import counted
from gansweep.report.comparison import compare_with_first, folded, verdict_sentences
from gansweep.report.fitting import Column, FittingTable, chosen
from gansweep.report.formatting import openings_text, value_text
from gansweep.report.rows import LeaderboardRow
from gansweep.scoring.metrics.formatting import score_text
from gansweep.store.feasibility import COSTS, constraints_text
from gansweep.store.ranking import ADDED_COLUMNS
from gansweep.store.schema import TRIAL_COLUMNS, flat_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from gansweep.store.store import Store
    from gansweep.store.sweep_info import SweepInfo

__all__ = [
    "as_document",
    "as_table",
    "leaderboard",
    "score_text",
    "searched_keys",
    "short_names",
    "spread_text",
    "value_text",
]

_OWN = frozenset({*TRIAL_COLUMNS, *ADDED_COLUMNS})
"""Columns that are not scores."""


def leaderboard(
    store: Store, attempts: pd.DataFrame | None = None, ranked: pd.DataFrame | None = None
) -> list[LeaderboardRow]:
    """Returns the rows of all trials of a sweep, best first.

    Args:
        store: the sweep's store.
        attempts: result of `store.trials`, if it was read already.
        ranked: result of `store.ranked_trials`, likewise.
    """
    attempts = store.trials(settings=False) if attempts is None else attempts
    ranked = store.ranked_trials(attempts) if ranked is None else ranked
    durations = attempts.groupby("trial_id")[["seconds", "gpu_seconds", "energy_joules"]].sum(min_count=1)
    totals = {str(record["trial_id"]): record for record in _records(durations.reset_index())}
    # Names with a dot are settings, and best values in hindsight.
    scores = [name for name in map(str, ranked) if name not in _OWN and "." not in name]
    rows = [_row(record, totals[record["trial_id"]], scores) for record in _records(ranked)]
    return compare_with_first(rows, store.info)


def as_document(rows: Sequence[LeaderboardRow], top: int | None = None) -> list[dict[str, Any]]:
    """Returns the leaderboard as plain values for JSON: one object per trial, best first.

    Scores are keys of the object. `fid` and `accuracy` always exist and are None if they were not measured. `mean`,
    `spread` and `trainings` describe the trial's configuration, over the trainings that count.

    Args:
        rows: all rows from `leaderboard`. For a subset, means would be wrong.
        top: number of configurations to list, each with all its trainings; None: all.
    """
    configurations = {(row.rank, row.status): row for row in folded(rows)}
    listed = [row for row in rows if top is None or row.rank <= top]
    return [_trial_document(row, configurations[row.rank, row.status]) for row in listed]


def _trial_document(row: LeaderboardRow, configuration: LeaderboardRow) -> dict[str, Any]:
    return {
        "trial_id": row.trial_id,
        "status": row.status,
        "rank": row.rank,
        "fid": None,
        "accuracy": None,
        **row.scores,
        "fid_features": row.fid_features,
        "front": row.front,
        "infeasible": row.infeasible,
        "reason": row.reason,
        "stopped_at": row.stopped_at,
        "iterations": row.iterations,
        "seconds": row.seconds,
        "gpu_seconds": row.gpu_seconds,
        **{name: row.costs.get(name) for name in COSTS},
        "configuration": row.configuration,
        "repeat_of": row.repeat_of,
        "counts": row.counts,
        "trainings": configuration.trainings,
        "mean": dict(configuration.scores),
        "spread": dict(configuration.spread),
        "against_first": [asdict(item) for item in row.against_first],
        "config": row.config.as_dict(),
    }


def as_table(
    rows: Sequence[LeaderboardRow],
    info: SweepInfo,
    top: int | None = None,
    columns: Sequence[str] | None = None,
) -> FittingTable:
    """Returns a table for the terminal: objectives, differences from real images alone, and searched parameters.

    Args:
        rows: all rows from `leaderboard`.
        info: record of the sweep.
        top: number of configurations to show; None: all.
        columns: headings, scores and configuration keys to show; None: the above, with as many parameters as fit.

    Raises:
        ConfigError: there is no such column.
    """
    objectives = [objective.name for objective in info.objectives]
    measured = set().union(*(row.scores for row in rows))
    differences = [f"{name}_difference" for name in objectives if f"{name}_difference" in measured]
    shown = folded(rows)
    repeated = any(row.trainings > 1 for row in shown)
    count = counted(len(rows), "trial")
    if repeated:
        configurations = {row.configuration for row in rows}
        count += f" of {counted(len(configurations), 'configuration')}"
    notes = _notes(rows, info, repeated=repeated)
    if top is not None and len(shown) > top:
        notes.insert(0, f"The first {top} of {counted(len(shown), 'configuration')}; --top shows more.")
    shown = shown[:top]
    table = _columns(shown, [*objectives, *differences], repeated=repeated)
    if columns is not None:
        defaults = {column.header for column in table}
        further = [column for column in _further_columns(rows, shown) if column.header not in defaults]
        available = [*table, *further]
        headings = {column.header for column in available}
        # A score may also be called by its own name.
        named = [name if name in headings or _heading(name) not in headings else _heading(name) for name in columns]
        table = chosen(available, named)
    return FittingTable(
        table,
        title=f"{info.name}: {count}, best first",
        notes=notes,
        hint=" --columns chooses.",
        bold=frozenset(i for i, row in enumerate(shown) if row.front == 0 and row.status == "completed"),
    )


def _columns(rows: Sequence[LeaderboardRow], scores: Sequence[str], *, repeated: bool) -> list[Column]:
    """Returns the default columns. Searched parameters are shown if there is room."""
    columns = [
        Column("#", [str(row.rank) for row in rows], right=True),
        Column("trial", [row.trial_id for row in rows]),
        Column("status", [row.ending for row in rows]),
    ]
    if repeated:
        columns.append(Column("n", [str(row.trainings) for row in rows], right=True))
    columns += [_score_column(rows, name) for name in scores]
    flat = [flat_config(row.config) for row in rows]
    for key, label in short_names(searched_keys(rows)).items():
        columns.append(Column(label, [value_text(values.get(key)) for values in flat], right=True, spare=True))
    return columns


def _further_columns(rows: Sequence[LeaderboardRow], shown: Sequence[LeaderboardRow]) -> list[Column]:
    """Returns a column for every score and configuration key, for users who name it."""
    scores = dict.fromkeys(name for row in rows for name in row.scores)
    columns = [_score_column(shown, name) for name in scores]
    flat = [flat_config(row.config) for row in shown]
    keys = dict.fromkeys(key for values in flat for key in values)
    columns += [Column(key, [value_text(values.get(key)) for values in flat], right=True) for key in keys]
    for name in COSTS:
        columns.append(Column(name, [value_text(row.costs.get(name)) for row in shown], right=True))
    columns.append(Column("reason", [row.reason for row in shown], prose=True))
    columns.append(Column("infeasible", [row.infeasible for row in shown], prose=True))
    return columns


def _heading(score: str) -> str:
    return score.replace("_difference", " - real only")


def _score_column(rows: Sequence[LeaderboardRow], name: str) -> Column:
    signed = name.endswith("_difference")
    return Column(_heading(name), [spread_text(row, name, signed=signed) for row in rows], right=True)


def spread_text(row: LeaderboardRow, name: str, *, signed: bool = False) -> str:
    """Formats a score. For a configuration, includes the standard deviation over its trainings.

    Args:
        row: a row of `folded`.
        name: name of the score.
        signed: whether the score is a difference.
    """
    text = score_text(name, row.scores.get(name), signed=signed)
    if name not in row.spread:
        return text
    spread = score_text(name, row.spread[name]).removesuffix(" %")
    return f"{text} ± {spread}"


def searched_keys(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Returns dotted configuration keys in which the trials differ, without the seed; those with most values first."""
    values: dict[str, set[Any]] = {}
    for row in rows:
        for key, value in flat_config(row.config).items():
            values.setdefault(key, set()).add(value)
    varied = [key for key, seen in values.items() if len(seen) > 1 and key != "seed"]
    return sorted(varied, key=lambda key: -len(values[key]))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Returns a short name for each dotted key.

    Its last part (`loss` for `loss.kind`), or the whole key if ambiguous.
    """
    ends = {key: key.removesuffix(".kind").rpartition(".")[2] for key in keys}
    counts = Counter(ends.values())
    return {key: end if counts[end] == 1 else key for key, end in ends.items()}


def _records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yields the rows of a table, several times as fast as pandas' `to_dict`."""
    names = [str(name) for name in table]
    columns = [table[name].tolist() for name in names]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _row(record: Mapping[str, Any], durations: Mapping[str, float], scores: Sequence[str]) -> LeaderboardRow:
    """Creates a row from a record of the trials table, the trial's total durations, and the names of all scores."""
    numbers = {name: record[name] for name in (*scores, *COSTS, "stopped_at") if _is_number(record.get(name))}
    return LeaderboardRow(
        trial_id=record["trial_id"],
        status=record["status"],
        rank=int(record["rank"]),
        front=int(record["front"]),
        scores={name: numbers[name] for name in scores if name in numbers},
        fid_features=_text(record["fid_features"]),
        config_json=record["config_json"],
        reason=_text(record["reason"]),
        stopped_at=int(record["stopped_at"]) if "stopped_at" in numbers else None,
        iterations=int(record["iterations"]),
        seconds=float(durations["seconds"]),
        gpu_seconds=float(durations["gpu_seconds"]),
        energy_joules=float(durations["energy_joules"]),
        configuration=record["configuration"],
        repeat_of=_text(record["repeat_of"]),
        counts=bool(record["counts"]),
        infeasible=record["infeasible"],
        costs={name: numbers[name] for name in COSTS if name in numbers},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _text(value: Any) -> str:
    """Returns the value of a text column. Missing values are NaN."""
    return value if isinstance(value, str) else ""


def _notes(rows: Sequence[LeaderboardRow], info: SweepInfo, *, repeated: bool) -> list[str]:
    sentences = ["Bold: no completed trial is better in every objective."]
    if repeated:
        sentences.append("n: trainings; ±: their standard deviation.")
    if info.constraints:
        sentences.append(f"Infeasible: breaks a constraint ({constraints_text(info.constraints)}).")
    features = sorted({row.fid_features for row in rows if row.fid_features})
    sentences.append(f"FID features: {', '.join(features) or 'unknown'}.")
    patients = info.cohort.patients.get("val")
    evaluated = counted(patients, "validation patient") if patients else "validation patients"
    opened = "unopened"
    if info.test_openings:
        opened = f"opened {len(info.test_openings)} x: {openings_text(info.test_openings)}"
    sentences.append(f"{evaluated}; test set {opened}.")
    return [" ".join(sentences), *verdict_sentences(rows)]
