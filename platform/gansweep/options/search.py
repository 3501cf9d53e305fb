"""Options of the commands that search and retrain, and the options that other commands share with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, field_validator

from gansweep.command_line import resolve_reference
from gansweep.config import Frozen, SamplerName, SchedulerName
from gansweep.constraint import Constraint
from gansweep.refusals import refuse_scheduler

__all__ = [
    "LARGEST_SEED",
    "AblateOptions",
    "ClusterOptions",
    "FixedSettings",
    "Placement",
    "RepeatOptions",
    "ReplayOptions",
    "RetrainingOptions",
    "SweepOptions",
    "TrainingOptions",
]

LARGEST_SEED = 2**31 - 1
"""NumPy's generators take seeds of 32 bits, and the numbers of trials and repeats are added to a seed."""

MOST_TRIALS = 10**9
"""More than any sweep has, and few enough for every number that is made of it."""

Placement = Literal["pack", "spread"]


def _parts(value: Any) -> Any:
    """Takes the command line's text, with commas, in a sweep's file and from Python, too."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _absolute(location: str) -> str:
    """Makes a path absolute, because other processes have other working directories. A URI stays as it is."""
    return location if "://" in location else str(Path(location).absolute())


def _with_absolute_files(settings: dict[str, Any]) -> dict[str, Any]:
    """Makes the paths of feature files absolute."""
    files = {key: settings.get(key) for key in ("scoring.features", "scoring.detector_features")}
    return settings | {key: _absolute(file) for key, file in files.items() if isinstance(file, str)}


FixedSettings = Annotated[
    dict[str, Any],
    AfterValidator(_with_absolute_files),
    Field(
        description="Fix a setting: scoring.samples=256, lr_d=1e-4. Repeatable.",
        json_schema_extra={"metavar": "KEY=VALUE"},
    ),
]


class ClusterOptions(Frozen):
    """Where trainings run and how often they save their state: options of every command that trains."""

    placement: Placement = Field(
        "pack", description="Where the workers of a trial run: on one machine if they fit, or spread over machines."
    )
    accelerator: str | None = Field(
        None,
        description="Train only on nodes with this accelerator, by Ray's name: H100.",
        json_schema_extra={"metavar": "NAME"},
    )
    wait_for_nodes: float = Field(
        0.0,
        ge=0.0,
        description="Seconds to wait until an autoscaling cluster has room for a training.",
        json_schema_extra={"metavar": "S"},
    )
    checkpoint_minutes: float = Field(5.0, ge=0.0, description="Minutes between checkpoints; 0: only at reports.")


class TrainingOptions(ClusterOptions):
    """Where trainings run and when their workers are replaced: options of sweeps, retrainings and `gansweep train`."""

    hang_minutes: float = Field(
        10.0,
        ge=0.0,
        description="Replace workers that are silent for this time and for --hang-factor times their longest silence; "
        "0: never.",
    )
    hang_factor: float = Field(20.0, ge=1.0, description="See --hang-minutes.")


class RetrainingOptions(TrainingOptions):
    """Cohort and resources with which configurations of a finished sweep are retrained."""

    cohort: Path | None = Field(
        None, description="The sweep's cohort, if it has moved.", json_schema_extra={"metavar": "DIR"}
    )
    workers_per_trial: int | None = Field(
        None, ge=1, description="Ray Train workers per training; default: the sweep's."
    )
    gpus_per_worker: float | None = Field(None, ge=0.0, description="GPUs per worker; default: the sweep's.")


class SweepOptions(TrainingOptions):
    """How a sweep runs: the options of `gansweep sweep`, `gansweep submit` and `gansweep.sweep`."""

    cohort: Path = Field(description="Folder that `gansweep ingest` wrote.", json_schema_extra={"metavar": "DIR"})
    storage: str = Field(
        description="Folder, s3://bucket/path, or @FILE that contains such a URI.",
        json_schema_extra={"metavar": "URI"},
        repr=False,
    )
    name: str = Field(description="Name of the sweep. Its store is <storage>/<name>.")
    study: str = Field(
        "",
        description="Keep the Optuna study in PostgreSQL: postgresql://..., or @FILE that contains such a URL.",
        json_schema_extra={"metavar": "URL"},
        repr=False,
    )
    trials: int = Field(ge=1, le=MOST_TRIALS, description="Total number of trials, including resumed ones.")
    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers per trial.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs per worker; with 0.5, two trials share one.")
    cpus_per_worker: float = Field(1.0, ge=0.1, description="CPU cores per worker.")
    concurrent: int | None = Field(None, ge=1, description="Number of trials at once; default: as many as fit.")
    sampler: SamplerName | None = Field(None, description="Overrides the space's.")
    scheduler: SchedulerName | None = Field(
        None, description="Overrides the space's.", json_schema_extra={"metavar": "|".join(get_args(SchedulerName))}
    )
    time_budget: str | None = Field(
        None, description="End the sweep after this time: 8h, 90m, 1h30m.", json_schema_extra={"metavar": "TIME"}
    )
    max_gpu_hours: float | None = Field(
        None, gt=0.0, description="End the sweep when its trials have used this many GPU hours."
    )
    patience: int | None = Field(
        None, ge=1, description="End the sweep after this many trials in a row that do not improve the Pareto front."
    )
    target: dict[str, float] = Field(
        default_factory=dict,
        description="End the sweep when a trial reaches this score: accuracy=0.9. Repeatable: one must reach all.",
        json_schema_extra={"metavar": "SCORE=VALUE"},
    )
    constraints: tuple[str, ...] = Field(
        (),
        alias="constraint",
        description="Bounds that a trial must keep, instead of the space's: 'peak_memory_gib<=20,accuracy>=0.8'.",
        json_schema_extra={"metavar": "SCORE<=NUMBER,..."},
    )
    prune: tuple[str, ...] = Field(
        (),
        description="Stop trials that begin to fail, by their signals: 'class_spread>=0.1,gradient_drift<=100'.",
        json_schema_extra={"metavar": "SIGNAL<=NUMBER,..."},
    )
    settings: FixedSettings = Field(default_factory=dict, alias="set")
    tries: tuple[dict[str, Any], ...] = Field(
        (),
        alias="try",
        description="Configuration to try first: lr_d=1e-4,width=16. Repeatable; other parameters are sampled.",
        json_schema_extra={"metavar": "KEY=VALUE,..."},
    )
    start_from: str | None = Field(
        None,
        description="Store of another sweep, or an export. Trials have its networks and start from their weights.",
        json_schema_extra={"metavar": "STORE|EXPORT"},
    )
    warm_start: tuple[str, ...] = Field(
        (),
        description="Stores of earlier sweeps, of any cohort. Their best configurations are tried first.",
        json_schema_extra={"metavar": "STORE,STORE,..."},
    )
    freeze_critic: int = Field(
        0, ge=0, description="With --start-from: number of the critic's blocks, from the image, that are not trained."
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of every random choice.")
    resume: bool = Field(False, description="Continue the sweep of this name.")
    tensorboard: bool = Field(False, description="Log trials to TensorBoard, in STORE/tensorboard.")
    mlflow: bool = Field(False, description="Log trials to MLflow, at MLFLOW_TRACKING_URI.")
    wandb: bool = Field(False, description="Log trials to Weights & Biases, in WANDB_PROJECT.")
    wait_for_storage: float = Field(
        300.0,
        ge=0.0,
        description="Seconds to wait for a storage that is full or overloaded.",
        json_schema_extra={"metavar": "S"},
    )

    @field_validator("storage", "start_from", mode="before")
    @classmethod
    def _as_text(cls, location: Any) -> Any:
        """Takes paths of the library's users."""
        return str(location) if isinstance(location, Path) else location

    @field_validator("storage", "study")
    @classmethod
    def _from_file(cls, storage: str) -> str:
        """Reads `@FILE`, which keeps credentials out of the command line, where other users could see them."""
        return resolve_reference(storage)

    @field_validator("storage", "start_from")
    @classmethod
    def _named(cls, location: str | None) -> str | None:
        """Refuses an empty text, which would be the current folder: often a variable that was not set."""
        if location is not None and not location.strip():
            raise ValueError("is empty")
        return location

    @field_validator("constraints", "prune", "warm_start", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return _parts(value)

    @field_validator("constraints")
    @classmethod
    def _readable(cls, constraints: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Constraint.parse(text)) for text in constraints)

    @field_validator("prune")
    @classmethod
    def _readable_bounds(cls, prune: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Constraint.parse_signal(text)) for text in prune)

    @field_validator("scheduler", mode="before")
    @classmethod
    def _fits(cls, scheduler: Any) -> Any:
        return refuse_scheduler(scheduler)

    @field_validator("start_from")
    @classmethod
    def _absolute_store(cls, start_from: str | None) -> str | None:
        return None if start_from is None else _absolute(start_from)

    @field_validator("warm_start")
    @classmethod
    def _absolute_stores(cls, warm_start: tuple[str, ...]) -> tuple[str, ...]:
        if not all(store.strip() for store in warm_start):
            raise ValueError("a name of a store is empty")
        return tuple(_absolute(store) for store in warm_start)

    def changes(self) -> dict[str, Any]:
        """Returns the changes to the space's experiment, for `Experiment.with_settings`."""
        chosen: dict[str, Any] = {"sampler": self.sampler, "scheduler.kind": self.scheduler}
        if self.constraints:
            chosen["constraints"] = [Constraint.parse(text).model_dump() for text in self.constraints]
        if self.prune:
            chosen["prune"] = [Constraint.parse_signal(text).model_dump() for text in self.prune]
        return self.settings | {key: value for key, value in chosen.items() if value is not None}

    @property
    def storage_from_anywhere(self) -> str:
        """The storage as another process can open it: an absolute path, or the URI."""
        return _absolute(self.storage)

    def recorded(self) -> dict[str, Any]:
        """Returns the options that `sweep.json` records.

        Storage and study are left out, because their URIs may hold credentials. So are other stores that are URIs.
        """
        left_out = {"storage", "study", "name", "resume"}
        if "://" in (self.start_from or ""):
            left_out.add("start_from")
        if any("://" in store for store in self.warm_start):
            left_out.add("warm_start")
        return self.model_dump(mode="json", by_alias=True, exclude=left_out)


class RepeatOptions(RetrainingOptions):
    """How leaders are retrained: the options of `gansweep repeat` and `gansweep.repeat`."""

    leaders: int = Field(2, ge=1, description="Number of configurations, best first.")
    trial: tuple[str, ...] = Field(
        (),
        description="These trials instead of the leaders. A trial that was stopped early is trained to its end.",
        json_schema_extra={"metavar": "ID,ID,..."},
    )
    repeats: int = Field(3, ge=2, description="Fresh trainings of each, including earlier ones.")
    # Different from the seeds of `confirm` (from 10 000), whose trainings must be new.
    seed: int = Field(20_000, ge=0, le=LARGEST_SEED, description="First of the fresh seeds.")


class ReplayOptions(Frozen):
    """Which searches are simulated: the options of `gansweep replay` and `gansweep.replay`."""

    samplers: tuple[SamplerName, ...] = Field(
        ("random", "tpe", "nsga-ii"),
        description="Samplers to simulate.",
        json_schema_extra={"metavar": "NAME,NAME,..."},
    )
    schedulers: tuple[SchedulerName, ...] = Field(
        ("none", "asha", "mo-asha", "asha-any", "median"),
        description="Schedulers to simulate, each with each sampler.",
        json_schema_extra={"metavar": "NAME,NAME,..."},
    )
    metric: str | None = Field(None, description="Objective for schedulers that use only one; default: the first.")
    prune: tuple[str, ...] = Field(
        (),
        description="Bounds on signals of a failing training. Each sampler and scheduler is also tried with each.",
        json_schema_extra={"metavar": "SIGNAL<=NUMBER,..."},
    )
    seeds: int = Field(20, ge=20, description="Number of simulations of each.")
    budget: float = Field(0.5, gt=0.0, le=1.0, description="Compare at this fraction of the time that all trials took.")
    concurrent: int = Field(1, ge=1, description="Number of trials at once.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of every random choice.")

    @field_validator("prune", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return _parts(value)

    @field_validator("schedulers", mode="before")
    @classmethod
    def _fit(cls, schedulers: Any) -> Any:
        if not isinstance(schedulers, str):
            for name in schedulers:
                refuse_scheduler(name)
        return schedulers


class AblateOptions(RetrainingOptions):
    """Which choices of a leader are taken back: the options of `gansweep ablate` and `gansweep.ablate`."""

    trial: str | None = Field(
        None,
        description="Trial whose choices are taken back; default: the first of the leaderboard.",
        json_schema_extra={"metavar": "ID"},
    )
    against: str | None = Field(
        None,
        description="Trial to take choices back to; default: the sweep's first, in shipped spaces the paper's.",
        json_schema_extra={"metavar": "ID"},
    )
    choices: tuple[str, ...] | None = Field(
        None,
        description="Choices to take back: loss,attention; default: all.",
        json_schema_extra={"metavar": "NAME,NAME,..."},
    )
    repeats: int = Field(3, ge=2, description="Fresh trainings of the leader and of each variant.")
    # Away from the seeds of `confirm` (from 10 000) and `repeat` (from 20 000).
    seed: int = Field(30_000, ge=0, le=LARGEST_SEED, description="First of the fresh seeds.")
