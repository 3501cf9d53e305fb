"""An experiment: the search space, the objectives, and how trials are scored and stopped.

The configuration models of `gansweep.config` can be imported from this module too, so that a space's file finds
everything here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from gansweep.config import (
    AugmentationSettings,
    Constraint,
    DataView,
    Frozen,
    LossSettings,
    Objective,
    PenaltySettings,
    SamplerName,
    SchedulerSettings,
    ScoringSettings,
    TrialConfig,
    validated,
    with_dotted,
)
from gansweep.contracts import Trainables
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    import optuna

__all__ = [
    "AugmentationSettings",
    "Constraint",
    "DataView",
    "Experiment",
    "Frozen",
    "LossSettings",
    "Objective",
    "PenaltySettings",
    "SchedulerSettings",
    "ScoringSettings",
    "Space",
    "TrialConfig",
    "validated",
]

Space = Callable[[Any], TrialConfig]
"""A search space: define-by-run code that gets values from an `optuna.Trial` and returns a configuration."""


class Experiment(Frozen):
    """A search: where it looks, what it aims at, how it scores and when it stops a trial.

    Args:
        name: shown to users.
        space: the define-by-run space.
        trainables: what the space's names refer to.
        first_trials: parameter values (by Optuna parameter name) tried before the sampler chooses.
        objectives: in the order Optuna sees them.
        constraints: bounds that samplers learn to keep.
        sampler: how trials are proposed: `tpe`, `gp`, `cma-es`, `nsga-ii`, `nsga-iii`, `qmc`, `random` or `grid`.
        reports: reports per trial, at equal fractions of its budget.
        overrides: dotted trial-configuration keys fixed for every trial, whatever the space says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    space: Space = Field(exclude=True)
    trainables: Trainables = Field(exclude=True, repr=False)
    first_trials: tuple[dict[str, Any], ...] = ()
    objectives: tuple[Objective, ...] = (
        Objective(name="fid", direction="minimize"),
        Objective(name="accuracy", direction="maximize"),
    )
    constraints: tuple[Constraint, ...] = ()
    sampler: SamplerName = "tpe"
    scheduler: SchedulerSettings = SchedulerSettings()
    scoring: ScoringSettings = ScoringSettings()
    reports: int = Field(4, ge=1)
    overrides: dict[str, Any] = Field(default_factory=dict)

    def config(self, trial: optuna.Trial) -> TrialConfig:
        """Returns the configuration of `trial`.

        Raises:
            ConfigError: no trial configuration has one of the overrides, or the space returns something else.
        """
        found = self.space(trial)
        if not isinstance(found, TrialConfig):
            what = f"the space returned {type(found).__name__}, not a TrialConfig"
            raise ConfigError(what, where=f"experiment {self.name}", fix="return TrialConfig(...) on every path")
        return found.derive(self.overrides)

    def with_settings(self, settings: Mapping[str, Any]) -> Experiment:
        """Returns a copy with dotted keys set.

        The experiment's own (`scoring.samples`, `reports`) or any trial's (`lr_d`).

        Raises:
            ConfigError: a key is unknown or a value is out of range.
        """
        own = {key: value for key, value in settings.items() if key.split(".")[0] in _SETTABLE}
        overrides = {**self.overrides, **{key: value for key, value in settings.items() if key not in own}}
        # Validate trial keys now, before any trial starts. The family's own keys are known only once it is chosen.
        TrialConfig().derive(overrides)
        plain = {name: _plain(getattr(self, name)) for name in type(self).model_fields}
        return validated(
            Experiment, with_dotted({**plain, "overrides": overrides}, own), where=f"experiment {self.name}"
        )


_SETTABLE = frozenset({"objectives", "constraints", "sampler", "scheduler", "scoring", "reports"})


def _plain(value: Any) -> Any:
    return value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value
