"""An experiment: the search space, the objectives, and how trials are scored and stopped.

The configuration models of `gansweep.config` can be imported from this module too, so that a space's file finds
everything here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator
from pydantic_core import PydanticCustomError

from gansweep.config import (
    AugmentationSettings,
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
from gansweep.constraint import Constraint
from gansweep.contracts import Trainables
from gansweep.errors import ConfigError, unknown_name

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
    "sampler_text",
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
        prune: bounds on the signals of a failing training (`gansweep.progress.SIGNALS`). A trial stops at the first
            report beyond one of them.
        sampler: how trials are proposed: `tpe`, `gp`, `cma-es`, `nsga-ii`, `nsga-iii`, `qmc`, `random` or `grid`; or a
            class of samplers with the parameter `seed`, with its other arguments:
            `partial(optuna.samplers.TPESampler, n_ei_candidates=64)`. It is not an object, because a sweep makes its
            sampler anew, with another seed, each time it is resumed.
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
    prune: tuple[Constraint, ...] = ()
    sampler: SamplerName | Callable[..., Any] = "tpe"
    scheduler: SchedulerSettings = SchedulerSettings(kind="asha-any")
    scoring: ScoringSettings = ScoringSettings()
    reports: int = Field(4, ge=1)
    overrides: dict[str, Any] = Field(default_factory=dict)

    @field_validator("sampler", mode="before")
    @classmethod
    def _known_sampler(cls, sampler: Any) -> Any:
        """Refuses what is neither a name nor a class of samplers.

        Raises:
            ConfigError: what is wrong with an object that is not a name.
        """
        if not isinstance(sampler, str):
            _check_own_sampler(sampler)
        elif sampler not in get_args(SamplerName):
            names = ", ".join(repr(name) for name in get_args(SamplerName))
            raise PydanticCustomError("sampler", "Input should be one of {names}", {"names": names})
        return sampler

    @field_serializer("sampler")
    def _recorded_sampler(self, sampler: Any) -> str:
        return sampler_text(sampler)

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


def sampler_text(sampler: str | Callable[..., Any]) -> str:
    """Returns a sampler as `sweep.json` records it: its name, or its class with the arguments.

    A value is recorded as it is written, a function or class by its name, and any other object by its class.
    """
    if isinstance(sampler, str):
        return sampler
    made = sampler.func if isinstance(sampler, partial) else sampler
    keywords = sampler.keywords if isinstance(sampler, partial) else {}
    arguments = ", ".join(f"{name}={_argument_text(value)}" for name, value in sorted(keywords.items()))
    return f"{_class_name(made)}({arguments})"


def _argument_text(value: Any) -> str:
    if isinstance(value, bool | int | float | str | None):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_argument_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_argument_text(item) for item in value) + "]"
    return str(getattr(value, "__qualname__", "")) or f"{_class_name(type(value))}(...)"


def _class_name(made: Any) -> str:
    name: str = made.__qualname__
    return name if made.__module__.partition(".")[0] == "optuna" else f"{made.__module__}.{name}"


_GIVEN_ELSEWHERE = {"seed": "leave it out: --seed gives it", "constraints_func": "use Experiment(constraints=...)"}
"""Arguments of samplers that the sweep decides, and what to do instead."""


def _check_own_sampler(sampler: Any) -> None:
    import inspect

    from optuna.samplers import BaseSampler

    fix = "give a name, or partial(SamplerClass, argument=value)"
    made = sampler.func if isinstance(sampler, partial) else sampler
    if isinstance(sampler, BaseSampler):
        what = f"a {type(sampler).__name__} that is already made has its own seed, and cannot be made again on a resume"
        raise ConfigError(what, where="sampler", fix=fix)
    if not (isinstance(made, type) and issubclass(made, BaseSampler)):
        what = f"{getattr(made, '__qualname__', type(made).__name__)} is no class of Optuna samplers"
        raise ConfigError(what, where="sampler", fix=fix)
    given = sampler.keywords if isinstance(sampler, partial) else {}
    if isinstance(sampler, partial) and sampler.args:
        raise ConfigError(f"arguments of {made.__name__} have no names", where="sampler", fix=fix)
    known = inspect.signature(made).parameters
    takes_any = any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    if not takes_any and (unknown := sorted(given.keys() - known.keys())):
        raise unknown_name("argument", unknown[0], list(known), where=f"sampler {made.__name__}")
    if not takes_any and "seed" not in known:
        what = f"{made.__name__} has no parameter seed, so a resumed sweep would repeat its proposals"
        raise ConfigError(what, where="sampler", fix="choose another class")
    for name, fix in _GIVEN_ELSEWHERE.items():
        if given.get(name) is not None:
            raise ConfigError(f"{made.__name__} has the argument {name}", where="sampler", fix=fix)


_SETTABLE = frozenset({"objectives", "constraints", "prune", "sampler", "scheduler", "scoring", "reports"})


def _plain(value: Any) -> Any:
    return value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value
