"""Schema of a store's `sweep.json`: what was searched, with which images, and how."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from gansweep.config import Frozen, Objective
from gansweep.constraint import Constraint
from gansweep.store.schema import ColumnType

__all__ = ["FORMAT", "CohortReference", "SweepInfo", "TestOpening"]

FORMAT = 1
"""Version of the store's layout. It is increased when older versions of gansweep can no longer read a new store."""


Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A number of things, which a float can hold."""


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
    patients: dict[str, Count] = Field(default_factory=dict)
    images: dict[str, Count] = Field(default_factory=dict)


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
        feature_files: SHA-256 of each file of a feature extractor, by the setting of `scoring` that names it.
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
    feature_files: dict[str, str] = Field(default_factory=dict)
    cohort: CohortReference
    objectives: tuple[Objective, ...] = Field(min_length=1)
    fid_features: str = ""
    trials: Count = 0
    workers_per_trial: int = Field(1, ge=1)
    gpus_per_worker: float = Field(0.0, ge=0.0)
    concurrent: Count = 1
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
        for key in ("constraints", "objectives", "prune"):
            if not isinstance(experiment.get(key) or [], list | tuple):
                raise ValueError(f"{key} = {experiment[key]!r} is no list")
        for bound in [*(experiment.get("constraints") or ()), *(experiment.get("prune") or ())]:
            Constraint.model_validate(bound)
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
