"""Options of the commands that come to a verdict."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from gansweep.config import Frozen
from gansweep.options.search import LARGEST_SEED, ClusterOptions, FixedSettings, RetrainingOptions

__all__ = [
    "AnswerOptions",
    "ConfirmOptions",
    "ConfirmSettings",
]


class ConfirmSettings(Frozen):
    """How much evidence `confirm` gathers."""

    leaders: int = Field(1, ge=1, description="Number of trials, best first.")
    gan_seeds: int = Field(3, ge=1, description="Fresh trainings of each. A verdict needs their spread.")
    detector_seeds: int = Field(3, ge=1, description="Detectors per training and arm.")
    ratios: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0),
        description="Synthetic images per real image, with one arm per ratio. The leader's own ratio is added.",
        json_schema_extra={"metavar": "R,R,..."},
    )
    rivals: tuple[Literal["mixup", "cutmix", "elastic", "intensity", "paste", "blend"], ...] = Field(
        ("mixup", "cutmix", "elastic", "intensity", "paste", "blend"),
        description="Augmentations that synthetic images must beat, or none. paste and blend need masks.",
        json_schema_extra={"metavar": "NAME,NAME,..."},
    )
    pool: bool = Field(False, description="Also add arms with the images of all leaders together.")
    samples: int = Field(512, ge=2, description="Images drawn from each generator; of pooled ones in all.")
    seed: int = Field(10_000, ge=0, le=LARGEST_SEED, description="First of the fresh seeds.")

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


class ConfirmOptions(ConfirmSettings, RetrainingOptions):
    """How leaders are confirmed: the options of `gansweep confirm` and `gansweep.confirm`."""

    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers per training.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs per worker; with 0.5, two trials share one.")
    reason: str = Field("", description="Reason for opening the test patients again.")

    def evidence(self) -> ConfirmSettings:
        """Returns the part that decides how much evidence there is."""
        return ConfirmSettings(**{name: getattr(self, name) for name in ConfirmSettings.model_fields})


class AnswerOptions(ClusterOptions):
    """How `answer` searches and confirms: the options of `gansweep answer` and `gansweep.answer`."""

    storage: str = Field(
        "runs", description="Folder or s3://bucket/path for the sweep.", json_schema_extra={"metavar": "URI"}
    )
    name: str = Field("", description="Name of the sweep; default: that of the cohort's folder.")
    space: str | None = Field(
        None,
        description="Search space; default: lesion_painter if there are masks, otherwise fahr_ct.",
        json_schema_extra={"metavar": "SPACE"},
    )
    time_budget: str = Field("7h", description="Time for this call: 7h, 90m.", json_schema_extra={"metavar": "TIME"})
    trials: int = Field(50, ge=1, description="Maximum number of trials. The time may end the search earlier.")
    leaders: int = Field(2, ge=1, description="Configurations to retrain and score on validation patients.")
    repeats: int = Field(2, ge=2, description="Fresh trainings of each of these.")
    gan_seeds: int = Field(3, ge=3, description="Fresh trainings of the leader for the verdict.")
    detector_seeds: int = Field(3, ge=1, description="Detectors per training and arm for the verdict.")
    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers per training.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs per worker; with 0.5, two trials share one.")
    settings: FixedSettings = Field(default_factory=dict, alias="set")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of every random choice.")
    even_if_hopeless: bool = Field(False, description="Search even if there are too few patients to show an effect.")
