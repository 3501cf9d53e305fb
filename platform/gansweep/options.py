"""The options of the commands, as values: the command line, submitted jobs, `sweep.json` and the library share them.

Each field is an option under its own name (`wait_for_nodes` is `--wait-for-nodes`), with its description as the help.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, field_validator

from gansweep.config import Frozen, SamplerName, SchedulerName
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "AblateOptions",
    "AnswerOptions",
    "Attribution",
    "ConfirmOptions",
    "ConfirmSettings",
    "GenerateOptions",
    "JobOptions",
    "Placement",
    "ReaderStudyOptions",
    "RepeatOptions",
    "ReplayOptions",
    "ScoreOptions",
    "SweepOptions",
    "TrainOptions",
    "as_words",
    "option_of",
    "text_of_reference",
]


def _checkpoint_minutes() -> Any:
    """The field of every command that trains."""
    return Field(5.0, ge=0.0, description="How often a checkpoint is kept between reports; 0: at reports alone.")


def _hang_minutes() -> Any:
    return Field(
        10.0,
        ge=0.0,
        description="Workers silent for so long, and for --hang-factor times their longest silence, are replaced; 0: "
        "never.",
    )


def _hang_factor() -> Any:
    return Field(20.0, ge=1.0, description="See --hang-minutes.")


Placement = Literal["pack", "spread"]


def _placement() -> Any:
    return Field("pack", description="The workers of a trial: on one machine where they fit, or spread over machines.")


def _accelerator() -> Any:
    return Field(
        None,
        description="Train only on nodes with such an accelerator, by Ray's name: H100.",
        json_schema_extra={"metavar": "NAME"},
    )


def _absolute_files(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which files have absolute paths; a relative one would mean another file in each process and node."""
    files = {key: settings.get(key) for key in ("scoring.features", "scoring.detector_features")}
    local = {key: file for key, file in files.items() if isinstance(file, str) and "://" not in file}
    return settings | {key: str(Path(file).absolute()) for key, file in local.items()}


class SweepOptions(Frozen):
    """How a sweep runs: the options of `gansweep sweep` and `gansweep submit`, and of `gansweep.sweep`.

    Each field is an option of the command line under its own name (`wait_for_nodes` is `--wait-for-nodes`), with its
    description as the help. A new field reaches the command line, a submitted job, the record of the sweep and the
    library by itself.
    """

    cohort: Path = Field(description="A folder that `gansweep ingest` wrote.", json_schema_extra={"metavar": "DIR"})
    storage: str = Field(
        description="A folder, s3://bucket/path, or @FILE with such a URI in it.",
        json_schema_extra={"metavar": "URI"},
        repr=False,
    )
    name: str = Field(description="The sweep's store is <storage>/<name>.")
    study: str = Field(
        "",
        description="Keep the Optuna study in PostgreSQL: postgresql://..., or @FILE with that in it.",
        json_schema_extra={"metavar": "URL"},
        repr=False,
    )
    trials: int = Field(ge=1, description="Trials in all, resumed ones included.")
    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers that share a trial.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs each; 0.5 lets two trials share one.")
    cpus_per_worker: float = Field(1.0, ge=0.1, description="CPU cores each.")
    placement: Placement = _placement()
    accelerator: str | None = _accelerator()
    concurrent: int | None = Field(None, ge=1, description="Trials at once; default: what fits.")
    sampler: SamplerName | None = Field(None, description="Overrides the space's.")
    scheduler: SchedulerName | None = Field(None, description="Overrides the space's.")
    time_budget: str | None = Field(
        None,
        description="End the sweep after this time: 8h, 90m, 1h30m.",
        json_schema_extra={"metavar": "TIME"},
    )
    max_gpu_hours: float | None = Field(None, gt=0.0, description="End the sweep when its trials have used so many.")
    patience: int | None = Field(
        None, ge=1, description="End the sweep after so many trials in a row that have not improved the front."
    )
    target: dict[str, float] = Field(
        default_factory=dict,
        description="End the sweep when a trial is as good: accuracy=0.9. Repeatable; one trial must meet all.",
        json_schema_extra={"metavar": "SCORE=VALUE"},
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        alias="set",
        description="Fix a setting: scoring.samples=256, lr_d=1e-4. Repeatable.",
        json_schema_extra={"metavar": "KEY=VALUE"},
    )
    tries: tuple[dict[str, Any], ...] = Field(
        (),
        alias="try",
        description="Your own guess, tried first: lr_d=1e-4,width=16. Repeatable; what it leaves open is sampled.",
        json_schema_extra={"metavar": "KEY=VALUE,..."},
    )
    start_from: str | None = Field(
        None,
        description="Another sweep's store: trials start from its leader's weights, and have its networks.",
        json_schema_extra={"metavar": "STORE"},
    )
    warm_start: tuple[str, ...] = Field(
        (),
        description="Stores of earlier sweeps, of any cohort: their best configurations are tried first.",
        json_schema_extra={"metavar": "STORE,STORE,..."},
    )
    freeze_critic: int = Field(0, ge=0, description="With --start-from: first blocks of the critic kept as they are.")
    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    resume: bool = Field(False, description="Go on with the sweep of that name.")
    checkpoint_minutes: float = _checkpoint_minutes()
    hang_minutes: float = _hang_minutes()
    hang_factor: float = _hang_factor()
    tensorboard: bool = Field(False, description="Follow the trials in TensorBoard: STORE/tensorboard.")
    mlflow: bool = Field(False, description="Follow the trials in MLflow, at MLFLOW_TRACKING_URI.")
    wandb: bool = Field(False, description="Follow the trials in Weights & Biases, in WANDB_PROJECT.")
    wait_for_nodes: float = Field(
        0.0,
        ge=0.0,
        description="Seconds an autoscaling cluster gets to grow.",
        json_schema_extra={"metavar": "S"},
    )
    wait_for_storage: float = Field(
        300.0,
        ge=0.0,
        description="Seconds a storage that is full or overloaded is waited for.",
        json_schema_extra={"metavar": "S"},
    )

    @field_validator("storage", "study")
    @classmethod
    def _from_file(cls, storage: str) -> str:
        """A command line is seen by everybody on a machine, and a job's by everybody on the cluster."""
        return _referred(storage)

    @field_validator("start_from")
    @classmethod
    def _from_here(cls, start_from: str | None) -> str | None:
        """A relative path would mean another folder in a job."""
        return start_from if start_from is None or "://" in start_from else str(Path(start_from).absolute())

    @field_validator("warm_start")
    @classmethod
    def _all_from_here(cls, warm_start: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(store if "://" in store else str(Path(store).absolute()) for store in warm_start)

    @field_validator("settings")
    @classmethod
    def _files_from_here(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return _absolute_files(settings)

    def changes(self) -> dict[str, Any]:
        """What is changed of the space's experiment, as `Experiment.with_settings` takes it."""
        chosen = {"sampler": self.sampler, "scheduler.kind": self.scheduler}
        return self.settings | {key: value for key, value in chosen.items() if value is not None}

    @property
    def storage_from_anywhere(self) -> str:
        """The storage as another process finds it: a local path made absolute, a URI as it is."""
        return self.storage if "://" in self.storage else str(Path(self.storage).absolute())

    def recorded(self) -> dict[str, Any]:
        """The options as `sweep.json` keeps them: without storage and study, whose URIs may hold credentials.

        Other stores are left out too where they are URIs.
        """
        left_out = {"storage", "study", "name", "resume"}
        if "://" in (self.start_from or ""):
            left_out.add("start_from")
        if any("://" in store for store in self.warm_start):
            left_out.add("warm_start")
        return self.model_dump(mode="json", by_alias=True, exclude=left_out)


class RepeatOptions(Frozen):
    """How leaders are trained again: the options of `gansweep repeat` and `gansweep.repeat`."""

    leaders: int = Field(2, ge=1, description="How many configurations, the best first.")
    repeats: int = Field(3, ge=2, description="Fresh trainings of each, earlier ones included.")
    cohort: Path | None = Field(
        None, description="The sweep's cohort, if it has moved.", json_schema_extra={"metavar": "DIR"}
    )
    # Different from the seeds of `confirm` (from 10 000), whose trainings must be new.
    seed: int = Field(20_000, ge=0, description="The first fresh seed.")
    workers_per_trial: int | None = Field(None, ge=1, description="Ray Train workers; default: the sweep's.")
    gpus_per_worker: float | None = Field(None, ge=0.0, description="GPUs each; default: the sweep's.")
    placement: Placement = _placement()
    accelerator: str | None = _accelerator()
    checkpoint_minutes: float = _checkpoint_minutes()
    hang_minutes: float = _hang_minutes()
    hang_factor: float = _hang_factor()


class ReplayOptions(Frozen):
    """Which searches are simulated: the options of `gansweep replay` and `gansweep.replay`."""

    samplers: tuple[SamplerName, ...] = Field(
        ("random", "tpe", "nsga-ii"), description="Who proposes.", json_schema_extra={"metavar": "NAME,NAME,..."}
    )
    schedulers: tuple[SchedulerName, ...] = Field(
        ("none", "asha", "mo-asha", "asha-any", "median"),
        description="Who stops trials early; each with each sampler.",
        json_schema_extra={"metavar": "NAME,NAME,..."},
    )
    metric: str | None = Field(None, description="What schedulers by one objective go by; default: the first.")
    seeds: int = Field(20, ge=20, description="Simulations of each.")
    budget: float = Field(0.5, gt=0.0, le=1.0, description="Compare at this fraction of what all trials took.")
    concurrent: int = Field(1, ge=1, description="Trials at once.")
    seed: int = Field(0, ge=0, description="Seed of every random choice.")


class AblateOptions(Frozen):
    """How a leader's choices are taken back: the options of `gansweep ablate` and `gansweep.ablate`."""

    trial: str | None = Field(
        None, description="Whose choices; default: the first of the leaderboard.", json_schema_extra={"metavar": "ID"}
    )
    against: str | None = Field(
        None,
        description="The trial to take choices back to; default: the sweep's first, in shipped spaces the paper's.",
        json_schema_extra={"metavar": "ID"},
    )
    choices: tuple[str, ...] | None = Field(
        None, description="These alone: loss,attention; default: all.", json_schema_extra={"metavar": "NAME,NAME,..."}
    )
    repeats: int = Field(3, ge=2, description="Fresh trainings of the leader and of each variant.")
    cohort: Path | None = Field(
        None, description="The sweep's cohort, if it has moved.", json_schema_extra={"metavar": "DIR"}
    )
    # Away from the seeds of `confirm` (from 10 000) and `repeat` (from 20 000).
    seed: int = Field(30_000, ge=0, description="The first fresh seed.")
    workers_per_trial: int | None = Field(None, ge=1, description="Ray Train workers; default: the sweep's.")
    gpus_per_worker: float | None = Field(None, ge=0.0, description="GPUs each; default: the sweep's.")
    placement: Placement = _placement()
    accelerator: str | None = _accelerator()
    checkpoint_minutes: float = _checkpoint_minutes()
    hang_minutes: float = _hang_minutes()
    hang_factor: float = _hang_factor()


class ConfirmSettings(Frozen):
    """How much evidence `confirm` gathers."""

    leaders: int = Field(1, ge=1, description="How many of the best trials.")
    gan_seeds: int = Field(3, ge=1, description="Fresh trainings of each; a verdict needs their spread.")
    detector_seeds: int = Field(3, ge=1, description="Detectors per training and arm.")
    ratios: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0),
        description="Synthetic images per real one, an arm each; a leader's own is added.",
        json_schema_extra={"metavar": "R,R,..."},
    )
    rivals: tuple[Literal["mixup", "cutmix", "elastic", "intensity", "paste", "blend"], ...] = Field(
        ("mixup", "cutmix", "elastic", "intensity", "paste", "blend"),
        description="What synthetic images must beat besides real ones; paste and blend need masks. none: nothing.",
        json_schema_extra={"metavar": "NAME,NAME,..."},
    )
    samples: int = Field(512, ge=2, description="Images drawn from each generator.")
    seed: int = Field(10_000, ge=0, description="The first fresh seed.")

    @field_validator("ratios")
    @classmethod
    def _in_range(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        # The range of TrialConfig.synthetic_ratio, less 0: an arm with no synthetic image is the base itself.
        if not ratios or not all(0.0 < ratio <= 8.0 for ratio in ratios):
            raise ValueError("each ratio must be above 0 and at most 8")
        return ratios

    @field_validator("rivals", mode="before")
    @classmethod
    def _none_or_names(cls, rivals: Any) -> Any:
        return () if tuple(rivals) == ("none",) else rivals


class ConfirmOptions(ConfirmSettings):
    """How leaders are confirmed: the options of `gansweep confirm` and `gansweep.confirm`."""

    cohort: Path | None = Field(
        None, description="The sweep's cohort, if it has moved.", json_schema_extra={"metavar": "DIR"}
    )
    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers that share a training.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs each; 0.5 lets two trials share one.")
    placement: Placement = _placement()
    accelerator: str | None = _accelerator()
    checkpoint_minutes: float = _checkpoint_minutes()
    hang_minutes: float = _hang_minutes()
    hang_factor: float = _hang_factor()
    reason: str = Field("", description="Why the test patients are opened again.")

    def evidence(self) -> ConfirmSettings:
        """The part that decides how much evidence there is."""
        return ConfirmSettings(**{name: getattr(self, name) for name in ConfirmSettings.model_fields})


class AnswerOptions(Frozen):
    """How the whole question is asked: the options of `gansweep answer` and `gansweep.answer`."""

    storage: str = Field(
        "runs", description="A folder or s3://bucket/path for the sweep.", json_schema_extra={"metavar": "URI"}
    )
    name: str = Field("", description="The sweep's name; default: that of the cohort's folder.")
    space: str | None = Field(
        None,
        description="The search space; default: lesion_painter where there are masks, else fahr_ct.",
        json_schema_extra={"metavar": "SPACE"},
    )
    time_budget: str = Field("7h", description="Time for this call: 7h, 90m.", json_schema_extra={"metavar": "TIME"})
    trials: int = Field(50, ge=1, description="Trials at most; the time may end the search earlier.")
    leaders: int = Field(2, ge=1, description="Configurations that are trained again on validation patients.")
    repeats: int = Field(2, ge=2, description="Fresh trainings of each of these.")
    gan_seeds: int = Field(3, ge=3, description="Fresh trainings of the leader behind the verdict.")
    detector_seeds: int = Field(3, ge=1, description="Detectors per training and arm behind the verdict.")
    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers that share a training.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs each; 0.5 lets two trials share one.")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        alias="set",
        description="Fix a setting: scoring.samples=256, lr_d=1e-4. Repeatable.",
        json_schema_extra={"metavar": "KEY=VALUE"},
    )
    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    checkpoint_minutes: float = _checkpoint_minutes()
    even_if_hopeless: bool = Field(False, description="Search even where the patients can show nothing.")

    @field_validator("settings")
    @classmethod
    def _files_from_here(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return _absolute_files(settings)


class Attribution(Frozen):
    """Who stands behind an exported generator, for its model card and its bundle."""

    author: str = Field("", description="Who made it, for the model card and the bundle.")
    licence: str = Field("", description="Under which licence it may be used.")
    contact: str = Field("", description="Whom to ask.")


class GenerateOptions(Frozen):
    """What is drawn from a generator: the options of `gansweep generate` and `gansweep.generate`."""

    format: Literal["dicom", "nifti", "png", "npy"] = Field("png", description="PNG shows the window; others hold HU.")
    label: str | None = Field(None, description="The class; default: each in turn.", json_schema_extra={"metavar": "L"})
    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    cohort: Path | None = Field(
        None, description="Real images, for families that start from them.", json_schema_extra={"metavar": "DIR"}
    )


class TrainOptions(Attribution):
    """How a production training runs: the options of `gansweep train` and `gansweep.train`."""

    workers: int = Field(1, ge=1, description="Workers that share every batch.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs each; 0.5 lets two trials share one.")
    cpus_per_worker: float = Field(1.0, ge=0.1, description="CPU cores each.")
    reports: int = Field(20, ge=1, description="How often progress is told and kept.")
    checkpoint_minutes: float = _checkpoint_minutes()
    allow_memorised: bool = Field(
        False, description="Export a generator that copies training patients; its card says so."
    )


class ScoreOptions(Frozen):
    """How two sets of images are compared: the options of `gansweep score` and `gansweep.score`."""

    features: Path | None = Field(
        None,
        description="A TorchScript extractor; default: an encoder of REAL's own.",
        json_schema_extra={"metavar": "FILE.pt"},
    )
    lpips: Path | None = Field(
        None, description="LPIPS weights, with --paired.", json_schema_extra={"metavar": "FILE.pt"}
    )
    paired: bool = Field(False, description="Image i of FAKE was made for image i of REAL (test images left out).")
    training: Path | None = Field(
        None,
        description="What FAKE's generator was trained on, for memorisation; default: the training patients of REAL.",
        json_schema_extra={"metavar": "DIR"},
    )
    size: int = Field(64, description="Pixels, where REAL is a folder; a cohort has a size.")
    seed: int = Field(0, ge=0, description="Seed of every random choice.")


def _referred(text: str) -> str:
    """`@FILE` as the line in it; other text as it is."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ValueError("no such file, or no text") from None


def text_of_reference(text: str, where: str) -> str:
    """`@FILE` as the line in it; other text as it is.

    Raises:
        ConfigError: no such file.
    """
    try:
        return _referred(text)
    except ValueError as error:
        raise ConfigError(str(error), where=f"{where} {text}", fix="write the URI into it") from None


class JobOptions(Frozen):
    """Where a job of `gansweep submit` runs, and whether the command stays with it."""

    address: str | None = Field(
        None,
        description="A cluster's dashboard: http://127.0.0.1:8265.",
        json_schema_extra={"metavar": "URL"},
    )
    wait: bool = Field(True, description="Stream the log and hand on the exit status.")


class ReaderStudyOptions(Frozen):
    """What readers are shown: the options of `gansweep reader-study`."""

    images: int = Field(60, ge=4, description="How many in all, half of them real.")
    split: Literal["val", "train"] = Field("val", description="Which patients of a cohort the real images are of.")
    size: int = Field(64, ge=8, description="Pixels, where REAL is a folder; a cohort has a size.")
    seed: int | None = Field(
        None, ge=0, description="Seed of choice and order; default: a new one each time, for it gives the key away."
    )


def option_of(name: str, field: FieldInfo) -> str:
    """The command line option of a model's field: `--wait-for-nodes` for `wait_for_nodes`."""
    return f"--{(field.alias or name).replace('_', '-')}"


def as_words(options: BaseModel) -> list[str]:
    """An options model as the words of a command line; defaults are left out and paths made absolute.

    Values in a dict are written as JSON, which the command line reads back as YAML.
    """
    words = []
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if value == field.get_default(call_default_factory=True):
            continue
        option = option_of(name, field)
        if isinstance(value, tuple) and value and isinstance(value[0], dict):
            words += [f"{option}={','.join(f'{key}={_word(item)}' for key, item in part.items())}" for part in value]
        elif isinstance(value, dict):
            words += [f"{option}={key}={_word(item)}" for key, item in value.items()]
        elif isinstance(value, tuple):
            words.append(f"{option}={','.join(map(str, value)) or 'none'}")
        elif value is True:
            words.append(option)
        else:
            words.append(f"{option}={value.absolute() if isinstance(value, Path) else value}")
    return words


def _word(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
