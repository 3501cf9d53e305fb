"""The leaderboard: a sweep's trials, best first, as values, as a table and as a JSON document."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gansweep.experiment import TrialConfig
from gansweep.report.places import compared, folded, verdicts
from gansweep.report.wording import openings_text, score_text, value_text
from gansweep.store.ranking import rank_trials
from gansweep.store.schema import TRIAL_COLUMNS, flat_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from rich.table import Table

    from gansweep.report.places import Difference
    from gansweep.store.schema import SweepInfo
    from gansweep.store.store import Store

__all__ = [
    "LeaderboardRow",
    "as_document",
    "as_table",
    "leaderboard",
    "score_text",
    "searched_keys",
    "short_names",
    "spread_text",
    "value_text",
]


@dataclass(frozen=True)
class LeaderboardRow:
    """One trial's place.

    Args:
        trial_id: zero-padded trial number.
        status: how its last attempt ended, or `running`.
        rank: of its configuration, from 1; see `gansweep.store.ranking.rank_trials` for the order.
        front: 0 on the Pareto front of the trials that ended alike; -1 where an objective is missing.
        scores: of its last report, which belong to its checkpoint; what was not measured is left out.
        fid_features: name and hash of the extractor behind `fid` and `kid`.
        config: its configuration.
        reason: why it stopped, diverged or failed.
        stopped_at: generator iteration at which the scheduler stopped it.
        iterations: generator iterations trained.
        seconds, gpu_seconds: spent, over all attempts.
        configuration: the first trial with the same configuration; trials that differ only in seed are its repeats.
        repeat_of: the trial that `gansweep repeat` trained again; empty for the search's own trainings.
        counts: whether it is part of its configuration's mean. The search's own trainings are not where there are fresh
            ones.
        trainings: behind `scores`; more than 1 in a row that stands for a configuration (`folded`).
        spread: standard deviation of each score over these trainings.
        against_first: the first place less this configuration, objective by objective, for the second place and the
            Pareto front.
    """

    trial_id: str
    status: str
    rank: int
    front: int
    scores: Mapping[str, float]
    fid_features: str
    config: TrialConfig
    reason: str
    stopped_at: int | None
    iterations: int
    seconds: float
    gpu_seconds: float
    configuration: str
    repeat_of: str = ""
    counts: bool = True
    trainings: int = 1
    spread: Mapping[str, float] = field(default_factory=dict)
    against_first: tuple[Difference, ...] = ()


def leaderboard(store: Store) -> list[LeaderboardRow]:
    """Every trial of a sweep, best first; no trial, no row."""
    attempts = store.trials()
    spent = attempts.groupby("trial_id")[["seconds", "gpu_seconds"]].sum()
    latest = attempts.drop_duplicates("trial_id", keep="last")
    ranked: list[dict[str, Any]] = rank_trials(latest, store.info.objectives).to_dict("records")  # type: ignore[assignment]
    return compared([_row(record, spent.loc[record["trial_id"]]) for record in ranked], store.info)


def as_document(rows: Sequence[LeaderboardRow], top: int | None = None) -> list[dict[str, Any]]:
    """Plain values for JSON: a list, best first, each with its scores beside `trial_id`, `status` and `rank`.

    `fid` and `accuracy` are always there, None where they were not measured.

    `mean`, `spread` and `trainings` are those of the trial's whole configuration, over the trainings that count.

    Args:
        rows: as `leaderboard` gives them, all of them: a part would give means of a part.
        top: how many configurations to list, each with all its trainings; None for all.
    """
    of_configuration = {(row.rank, row.status): row for row in folded(rows)}
    return [
        {
            "trial_id": row.trial_id,
            "status": row.status,
            "rank": row.rank,
            "fid": None,
            "accuracy": None,
            **row.scores,
            "fid_features": row.fid_features,
            "front": row.front,
            "reason": row.reason,
            "stopped_at": row.stopped_at,
            "iterations": row.iterations,
            "seconds": row.seconds,
            "gpu_seconds": row.gpu_seconds,
            "configuration": row.configuration,
            "repeat_of": row.repeat_of,
            "counts": row.counts,
            "trainings": of_configuration[row.rank, row.status].trainings,
            "mean": dict(of_configuration[row.rank, row.status].scores),
            "spread": dict(of_configuration[row.rank, row.status].spread),
            "against_first": [asdict(item) for item in row.against_first],
            "config": row.config.as_dict(),
        }
        for row in rows
        if top is None or row.rank <= top
    ]


def as_table(rows: Sequence[LeaderboardRow], info: SweepInfo, top: int | None = None) -> Table:
    """A table for the terminal: objectives, the difference to real images alone, and what the search varied.

    Args:
        rows: as `leaderboard` gives them.
        info: of their sweep.
        top: how many configurations to show; None for all.
    """
    from rich.table import Table

    objectives = [objective.name for objective in info.objectives]
    differences = [
        f"{name}_difference" for name in objectives if any(f"{name}_difference" in row.scores for row in rows)
    ]
    keys, shown = searched_keys(rows)[:6], folded(rows)
    repeated = any(row.trainings > 1 for row in shown)
    count = f"{len(rows)} trials" + (f" of {len({row.configuration for row in rows})} configurations" * repeated)
    table = Table(title=f"{info.name}: {count}, best first", caption=_caption(rows, info, repeated=repeated))
    for heading in ("#", "trial", "status"):
        table.add_column(heading, no_wrap=True)
    if repeated:
        table.add_column("n", justify="right")
    for name in (*objectives, *differences):
        table.add_column(name.replace("_difference", " - real only"), justify="right")
    for label in short_names(keys).values():
        table.add_column(label, justify="right")
    for row in shown[:top]:
        config = flat_config(row.config)
        table.add_row(
            str(row.rank),
            row.trial_id,
            row.status,
            *([str(row.trainings)] if repeated else []),
            *(spread_text(row, name) for name in objectives),
            *(spread_text(row, name, signed=True) for name in differences),
            *(value_text(config.get(key)) for key in keys),
            style="bold" if row.front == 0 and row.status == "completed" else None,
        )
    return table


def spread_text(row: LeaderboardRow, name: str, *, signed: bool = False) -> str:
    """A score as people read it, of a configuration with its standard deviation over trainings."""
    text = score_text(name, row.scores.get(name), signed=signed)
    return f"{text} ± {score_text(name, row.spread[name]).removesuffix(' %')}" if name in row.spread else text


def searched_keys(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Dotted configuration keys in which the trials differ, the most varied first; the seed is left out."""
    values: dict[str, set[Any]] = {}
    for row in rows:
        for key, value in flat_config(row.config).items():
            values.setdefault(key, set()).add(value)
    varied = [key for key, seen in values.items() if len(seen) > 1 and key != "seed"]
    return sorted(varied, key=lambda key: -len(values[key]))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each dotted key with its last part (`loss` for `loss.kind`), or whole where two keys end alike."""
    ends = {key: key.removesuffix(".kind").rpartition(".")[2] for key in keys}
    counts = Counter(ends.values())
    return {key: end if counts[end] == 1 else key for key, end in ends.items()}


def _row(record: Mapping[str, Any], spent: pd.Series[float]) -> LeaderboardRow:
    numbers = {name: value for name, value in record.items() if isinstance(value, float) and math.isfinite(value)}
    own = {*TRIAL_COLUMNS, "rank", "front", "configuration", "counts"}
    return LeaderboardRow(
        trial_id=record["trial_id"],
        status=record["status"],
        rank=int(record["rank"]),
        front=int(record["front"]),
        scores={name: value for name, value in numbers.items() if name not in own and "." not in name},
        fid_features=_text(record["fid_features"]),
        config=TrialConfig.model_validate(json.loads(record["config_json"])),
        reason=_text(record["reason"]),
        stopped_at=int(record["stopped_at"]) if "stopped_at" in numbers else None,
        iterations=int(record["iterations"]),
        seconds=float(spent["seconds"]),
        gpu_seconds=float(spent["gpu_seconds"]),
        configuration=record["configuration"],
        repeat_of=_text(record["repeat_of"]),
        counts=bool(record["counts"]),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _caption(rows: Sequence[LeaderboardRow], info: SweepInfo, *, repeated: bool) -> str:
    features = ", ".join(sorted({row.fid_features for row in rows if row.fid_features})) or "unknown"
    patients = info.cohort.patients.get("val")
    seen = f"{patients} validation patients" if patients else "validation patients"
    opened = (
        f"opened {len(info.test_openings)} x: {openings_text(info.test_openings)}" if info.test_openings else "unopened"
    )
    means = " n: trainings; ±: their standard deviation." * repeated
    line = f"Bold: no completed trial is better in every objective.{means} FID features: {features}. {seen}; test set"
    return "\n".join([f"{line} {opened}.", *verdicts(rows)])
