"""Schema of a store's rows and of its `sweep.json`.

The tables have one row per attempt at a trial and one row per report. A score's column has the score's name (`fid`,
`accuracy`). Configuration values are in `config.<dotted key>`, the best value of an objective over all reports in
`best.<objective>`, and losses in `loss.<name>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator

from gansweep.config import Frozen, Objective, TrialConfig
from gansweep.constraint import Constraint
from gansweep.errors import StoreError, one_line

if TYPE_CHECKING:
    from gansweep.progress import Report

__all__ = [
    "FORMAT",
    "SHARES",
    "CohortReference",
    "ColumnType",
    "ReportRow",
    "Status",
    "SweepInfo",
    "TestOpening",
    "TrialRow",
    "flat_config",
]

FORMAT = 1
"""Version of the store's layout. It is increased when older versions of gansweep can no longer read a new store."""

SHARES = ("accuracy", "sensitivity", "specificity", "auroc", "dice")
"""Columns of scores that are shares, so from 0 to 1."""

Status = Literal["running", "completed", "stopped", "diverged", "failed", "interrupted"]
"""How an attempt ended. `stopped`: by the scheduler; `failed`: by an error; `interrupted`: because the sweep ended.

A later attempt resumes an interrupted one.
"""

ColumnType = Literal["bool", "int64", "float64", "string", "timestamp"]

Value = bool | int | float | str | datetime | None


class CohortReference(Frozen):
    """Identifies the images of a sweep.

    Args:
        path: path of the cohort.
        content_hash: hash of the cohort's images, labels and splits.
        classes: class names in label order.
        patients: number of patients per split.
        images: number of images per split.
    """

    path: str
    content_hash: str
    classes: tuple[str, ...]
    patients: dict[str, NonNegativeInt] = Field(default_factory=dict)
    images: dict[str, NonNegativeInt] = Field(default_factory=dict)


class TestOpening(Frozen):
    """One use of the test patients.

    Args:
        opened: when.
        reason: why, if it was not the first.
        judged: whether its result was written, so that somebody may have seen it.
    """

    __test__ = False  # pytest would collect it by its name

    opened: datetime
    reason: str = ""
    judged: bool = False


class SweepInfo(Frozen):
    """A sweep's provenance, stored in `sweep.json`.

    Args:
        name: name of the sweep and of its Optuna study.
        experiment: the Experiment as plain values.
        space: the user's SPACE argument.
        space_sha256: SHA-256 of the space's file, if the space is in a user's file.
        space_imports: SHA-256 of each file that the space imported from its own folder, by file name.
        cohort: the sweep's images.
        objectives: the objectives, in Optuna's order.
        fid_features: name and hash of the feature extractor of `fid` and `kid`.
        trials: number of trials requested.
        workers_per_trial, gpus_per_worker, concurrent: resources of the trials, and how many ran at a time.
        seeds: seeds, by what they are used for.
        code_revision: git commit, or version of the installed package.
        packages: versions of the packages that affect the numbers.
        hardware: processors, memory and GPUs.
        created: start of the sweep.
        config_columns: types of the `config.*` columns of all families, so that all files of a sweep have the same
            columns.
        test_openings: each use of the test patients.
        options: options of the sweep; see `gansweep.options.SweepOptions`.
        study: database of the Optuna study, without user and password. Empty if the study is a file of the store.
        notes: other information.
    """

    name: str
    experiment: dict[str, Any]
    space: str
    space_sha256: str = ""
    space_imports: dict[str, str] = Field(default_factory=dict)
    cohort: CohortReference
    objectives: tuple[Objective, ...] = Field(min_length=1)
    fid_features: str = ""
    trials: int = Field(0, ge=0)
    workers_per_trial: int = Field(1, ge=1)
    gpus_per_worker: float = Field(0.0, ge=0.0)
    concurrent: int = Field(1, ge=0)
    seeds: dict[str, int] = Field(default_factory=dict)
    code_revision: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    created: datetime
    config_columns: dict[str, ColumnType] = Field(default_factory=dict)
    test_openings: tuple[TestOpening, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    study: str = ""
    notes: dict[str, Any] = Field(default_factory=dict)
    format: int = FORMAT

    @field_validator("experiment")
    @classmethod
    def _usable(cls, experiment: dict[str, Any]) -> dict[str, Any]:
        """Refuses what readers of a store could not use. Earlier versions recorded fewer keys."""
        reports = experiment.get("reports", 1)
        if not isinstance(reports, int) or reports < 1:
            raise ValueError(f"reports = {reports!r} is no number above zero")
        for key in ("overrides", "scheduler", "scoring"):
            if not isinstance(experiment.get(key, {}), dict):
                raise ValueError(f"{key} = {experiment[key]!r} is no dictionary")
        for constraint in experiment.get("constraints") or ():
            Constraint.model_validate(constraint)
        return experiment

    @field_validator("objectives")
    @classmethod
    def _of_the_experiment(cls, objectives: tuple[Objective, ...], others: ValidationInfo) -> tuple[Objective, ...]:
        """Refuses objectives that contradict each other, or the experiment in the same file."""
        names = [objective.name for objective in objectives]
        twice = [name for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise ValueError(f"{twice[0]!r} is given twice")
        recorded = others.data.get("experiment", {}).get("objectives")
        if recorded and tuple(Objective.model_validate(item) for item in recorded) != objectives:
            raise ValueError("experiment.objectives in the same file differ")
        return objectives

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """Bounds that the sweep's sampler learned to keep."""
        return tuple(Constraint.model_validate(item) for item in self.experiment.get("constraints") or ())


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
        )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> TrialRow:
        """Creates a row from its record. Nulls stand for absent values."""
        present = {name: value for name, value in record.items() if value is not None}
        own = {name: present[name] for name in TRIAL_COLUMNS if name in present and name != "config_json"}
        return cls(
            **own,
            config=TrialConfig.model_validate_json(record["config_json"]),
            scores={name: value for name, value in present.items() if name not in TRIAL_COLUMNS and "." not in name},
            best={name.removeprefix("best."): value for name, value in present.items() if name.startswith("best.")},
        )

    def record(self) -> dict[str, Value]:
        """Returns the row as a mapping from column names to values.

        Raises:
            StoreError: a score has the name of one of the table's own columns.
        """
        own = {name: getattr(self, name) for name in TRIAL_COLUMNS if name != "config_json"}
        config = {f"config.{key}": value for key, value in flat_config(self.config).items()}
        best = {f"best.{name}": value for name, value in self.best.items()}
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
        return {**own, **_scores(progress["scores"], REPORT_COLUMNS), **losses}


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
