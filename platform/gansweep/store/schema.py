"""Schema of a store's rows.

The tables have one row per attempt at a trial and one row per report. A score's column has the score's name (`fid`,
`accuracy`). Configuration values are in `config.<dotted key>`, the best value of an objective over all reports in
`best.<objective>`, losses in `loss.<name>`, and signals of a failing
training in `signal.<name>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from gansweep.config import TrialConfig, first_fault
from gansweep.errors import StoreError, one_line

if TYPE_CHECKING:
    from gansweep.progress import Report

__all__ = [
    "SHARES",
    "ColumnType",
    "ReportRow",
    "Status",
    "TrialRow",
    "config_of",
    "flat_config",
]

SHARES = ("accuracy", "sensitivity", "specificity", "auroc", "dice")
"""Columns of scores that are shares, so from 0 to 1."""

Status = Literal["running", "completed", "stopped", "diverged", "failed", "interrupted"]
"""How an attempt ended. `stopped`: by the scheduler; `failed`: by an error; `interrupted`: because the sweep ended.

A later attempt resumes an interrupted one.
"""

ColumnType = Literal["bool", "int64", "float64", "string", "timestamp"]

Value = bool | int | float | str | datetime | None


@dataclass(frozen=True)
class TrialRow:
    """One attempt at a trial.

    Args:
        trial_id: zero-padded Optuna trial number; `<trial>-<seed>` for a repeat.
        attempt: 0 for the first attempt; increased each time the trial is restarted after a crash.
        status: see `Status`.
        config: the trained configuration.
        reason: why the trial stopped, diverged, failed or was interrupted; empty otherwise.
        stopped_at: generator iteration at which the scheduler stopped the trial, or None.
        scores: scores of the last report. They belong to the saved checkpoint.
        best: best value of each objective over the reports. It is selected in hindsight and so biased: use it for
            curves and diagnosis, never for ranking.
        fid_features: name and hash of the feature extractor.
        reports: number of reports received, over all attempts.
        iterations, images_seen: generator iterations and images trained on, over all attempts.
        seconds: duration of this attempt.
        seconds_training, seconds_scoring: time spent training and scoring since the workers last started.
        images_on: where the training images were, `device` or `host`. Empty in rows of earlier versions.
        gpu_seconds: GPU time of this attempt, over all workers; 0 on CPUs.
        workers: number of workers in the worker group.
        started, ended: start and end of this attempt, UTC.
        repeat_of: trial whose configuration was retrained with another seed. Empty for trials of the search.
        parameters: the sampler's values and their distributions as JSON, from which the study can be rebuilt. Empty for
            repeats and in rows of earlier versions.
        execution, execution_reason: how the steps of the last report ran, `captured` or `eager`, and why eagerly. Empty
            in rows of earlier versions.
        seconds_per_iteration, peak_memory_gib: see `gansweep.progress.Progress`. None in rows of earlier versions.
        energy_joules: energy that its GPUs used up to the last report of this attempt. None where it is not known, as
            for a GPU that several trials share, and in rows of earlier versions.
    """

    trial_id: str
    attempt: int
    status: Status
    config: TrialConfig
    reason: str = ""
    stopped_at: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    fid_features: str = ""
    reports: int = 0
    iterations: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    seconds_training: float = 0.0
    seconds_scoring: float = 0.0
    images_on: str = ""
    gpu_seconds: float = 0.0
    workers: int = 1
    started: datetime | None = None
    ended: datetime | None = None
    repeat_of: str = ""
    parameters: str = ""
    execution: str = ""
    execution_reason: str = ""
    seconds_per_iteration: float | None = None
    peak_memory_gib: float | None = None
    energy_joules: float | None = None

    def finished(
        self,
        status: Status,
        *,
        reason: str = "",
        report: Report | None = None,
        best: Mapping[str, float] | None = None,
        reports: int = 0,
        seconds: float | None = None,
        gpus: float = 0.0,
        ended: datetime | None = None,
    ) -> TrialRow:
        """Returns the row of this attempt after it has ended.

        Args:
            status: how the attempt ended. Only a completed or stopped attempt keeps its scores.
            reason: why it did not complete.
            report: its last report, or None.
            best: best value of each objective over the reports.
            reports: number of reports received, over all attempts.
            seconds: duration of the attempt; None: the time from `started` to `ended`.
            gpus: number of GPUs that the attempt used, over all workers.
            ended: end of the attempt; None: now.
        """
        ended = ended or datetime.now(UTC)
        if seconds is None:
            # A machine's clock may be set back meanwhile.
            seconds = max(0.0, (ended - (self.started or ended)).total_seconds())
        row = replace(
            self,
            status=status,
            reason=one_line(reason),
            best=best or {},
            reports=reports,
            seconds=seconds,
            gpu_seconds=seconds * gpus,
            ended=ended,
        )
        if report is None:
            return row
        progress = report.progress
        return replace(
            row,
            stopped_at=progress.iteration if status == "stopped" else None,
            scores=progress.scores if status in ("completed", "stopped") else {},
            fid_features=report.fid_features,
            iterations=progress.iteration,
            images_seen=progress.images_seen,
            seconds_training=progress.seconds_training,
            seconds_scoring=progress.seconds_scoring,
            execution=progress.execution,
            execution_reason=progress.execution_reason,
            images_on=progress.images_on,
            seconds_per_iteration=progress.seconds_per_iteration,
            peak_memory_gib=progress.peak_memory_gib,
            energy_joules=progress.energy_joules if gpus >= self.workers else None,
        )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> TrialRow:
        """Creates a row from its record. Nulls stand for absent values."""
        present = {name: value for name, value in record.items() if value is not None}
        # A later version may have columns of text.
        numbers = {name: value for name, value in present.items() if type(value) in (int, float)}
        own = {name: present[name] for name in TRIAL_COLUMNS if name in present and name != "config_json"}
        return cls(
            **own,
            config=config_of(record["trial_id"], record["config_json"]),
            scores={name: value for name, value in numbers.items() if name not in TRIAL_COLUMNS and "." not in name},
            best={name.removeprefix("best."): value for name, value in numbers.items() if name.startswith("best.")},
        )

    def record(self) -> dict[str, Value]:
        """Returns the row as a mapping from column names to values.

        Raises:
            StoreError: a score has the name of one of the table's own columns.
        """
        own = {name: getattr(self, name) for name in TRIAL_COLUMNS if name != "config_json"}
        config = {f"config.{key}": value for key, value in flat_config(self.config).items()}
        best = {f"best.{name}": float(value) for name, value in self.best.items()}
        return {
            **own,
            "config_json": json.dumps(self.config.as_dict(), sort_keys=True),
            **_scores(self.scores, TRIAL_COLUMNS),
            **best,
            **config,
        }


@dataclass(frozen=True)
class ReportRow:
    """One report of a trial.

    Args:
        trial_id: zero-padded Optuna trial number.
        attempt: attempt that sent the report.
        report: content of the report.
        time: time of arrival, UTC.
    """

    trial_id: str
    attempt: int
    report: Report
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def index(self) -> int:
        """Index of the report among the trial's reports, from 0."""
        return self.report.progress.index

    def record(self) -> dict[str, Value]:
        """Returns the row as a mapping from column names to values.

        Raises:
            StoreError: a score has the name of one of the table's own columns.
        """
        progress = vars(self.report.progress)
        known = {**progress, **vars(self), "fid_features": self.report.fid_features}
        own = {name: known[name] for name in REPORT_COLUMNS}
        losses = {f"loss.{name}": value for name, value in progress["losses"].items()}
        signals = {f"signal.{name}": value for name, value in progress["signals"].items()}
        return {**own, **_scores(progress["scores"], REPORT_COLUMNS), **losses, **signals}


TRIAL_COLUMNS: dict[str, ColumnType] = {
    "trial_id": "string",
    "attempt": "int64",
    "status": "string",
    "reason": "string",
    "stopped_at": "int64",
    "fid_features": "string",
    "reports": "int64",
    "iterations": "int64",
    "images_seen": "int64",
    "seconds": "float64",
    "seconds_training": "float64",
    "seconds_scoring": "float64",
    "images_on": "string",
    "gpu_seconds": "float64",
    "workers": "int64",
    "started": "timestamp",
    "ended": "timestamp",
    "repeat_of": "string",
    "parameters": "string",
    "execution": "string",
    "execution_reason": "string",
    "seconds_per_iteration": "float64",
    "peak_memory_gib": "float64",
    "energy_joules": "float64",
    "config_json": "string",
}

REPORT_COLUMNS: dict[str, ColumnType] = {
    "trial_id": "string",
    "attempt": "int64",
    "index": "int64",
    "final": "bool",
    "iteration": "int64",
    "images_seen": "int64",
    "fid_features": "string",
    "seconds_training": "float64",
    "seconds_scoring": "float64",
    "execution": "string",
    "execution_reason": "string",
    "images_on": "string",
    "seconds_per_iteration": "float64",
    "peak_memory_gib": "float64",
    "time": "timestamp",
}


def config_of(trial_id: str, text: str) -> TrialConfig:
    """Returns the configuration of a trial from the text in its row.

    Raises:
        StoreError: it is that of another version, in rows that this version did not copy.
    """
    try:
        return TrialConfig.model_validate_json(text)
    except ValidationError as error:
        what = f"the configuration of trial {trial_id} is not one of this version: {first_fault(error)}"
        raise StoreError(what, fix="use the version of gansweep that trained it") from None


def flat_config(config: TrialConfig) -> dict[str, bool | int | float | str | None]:
    """Flattens a configuration to dotted keys: `{"penalty.lambda": 10.0, "augmentation.policy": "flip,cutout"}`."""
    return dict(_flattened(config.as_dict(), ""))


def _flattened(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flattened(value, f"{prefix}{key}.")
        else:
            # Lists in cells can be neither grouped nor compared. `config_json` keeps them unchanged.
            pairs.append((f"{prefix}{key}", ",".join(map(str, value)) if isinstance(value, list) else value))
    return pairs


def _scores(scores: Mapping[str, float], columns: Mapping[str, ColumnType]) -> dict[str, float]:
    for name in scores:
        if name in columns or "." in name:
            raise StoreError(f"a score cannot be named {name!r}", where="scores", fix="rename the metric")
    return {name: float(value) for name, value in scores.items()}
