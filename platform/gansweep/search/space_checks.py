"""Checks the parameters of a space: what a study cannot store, and first trials that are not in the space."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution

from gansweep.errors import ConfigError, unknown_name
from gansweep.search.parameters import DrawnTrial, contains

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.distributions import BaseDistribution

    from gansweep.experiment import Experiment
    from gansweep.search.parameters import SpaceParameters

__all__ = ["allowed_values", "check_first_trials", "check_parameters"]

_DRAWS = 40  # draws of the open parameters, to see which a first trial meets


def check_parameters(space: SpaceParameters, *, where: str) -> None:
    """Checks that rows and study can keep every parameter.

    A choice that is a tuple, a list or an object would come back as something else, or not at all.

    Args:
        space: parameters of the space.
        where: the user's name for the space.

    Raises:
        ConfigError: a name is no text, or a choice is no text, finite number, boolean or None.
    """
    for name, ranges in space.ranges.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ConfigError(f"{name!r} cannot name a parameter", where=where, fix="give it a text that can be shown")
        for distribution in ranges:
            if not isinstance(distribution, CategoricalDistribution):
                continue
            for choice in distribution.choices:
                if not _storable(choice):
                    raise ConfigError(
                        f"parameter {name} has the choice {choice!r}, which cannot be stored",
                        where=where,
                        fix="choose among texts or numbers, and look up in the space what they stand for",
                    )


def check_first_trials(experiment: Experiment, space: SpaceParameters) -> None:
    """Checks that the space can make an experiment's first trials. Optuna would propose them as they are.

    Args:
        experiment: the experiment.
        space: its parameters.

    Raises:
        ConfigError: the space has no such parameter, or not with this value.
    """
    if not space.ranges:
        return  # it refuses every draw, which is told elsewhere
    draws = random.Random(0)
    for first in experiment.first_trials:
        seen = {name: list(ranges) for name, ranges in space.ranges.items()}
        for _ in range(_DRAWS):
            trial = DrawnTrial(first, draws)
            try:
                experiment.space(trial)
            except (Exception, SystemExit):  # noqa: S112 (a refused draw; whether all are refused is told elsewhere)
                continue
            finally:
                for name, distribution in trial.distributions.items():
                    seen.setdefault(name, []).append(distribution)
        _check_values(first, seen)


def _check_values(values: Mapping[str, Any], seen: Mapping[str, Sequence[BaseDistribution]]) -> None:
    for name, value in values.items():
        if name not in seen:
            raise unknown_name("parameter", str(name), seen, where="first_trials")
        if not any(contains(distribution, value) for distribution in seen[name]):
            what = f"{name} = {value!r} is not in the space"
            raise ConfigError(what, where="first_trials", fix=allowed_values(seen[name]))


def allowed_values(ranges: Sequence[BaseDistribution]) -> str:
    """Returns the values of a parameter, in words. A space may change its range from trial to trial."""
    return f"choose one {' or '.join(dict.fromkeys(map(_values_in_words, ranges)))}"


def _values_in_words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"of {', '.join(map(str, distribution.choices))}"
    return f"from {distribution.low:g} to {distribution.high:g}"  # type: ignore[attr-defined]


def _storable(choice: Any) -> bool:
    if isinstance(choice, float):
        return math.isfinite(choice)
    return choice is None or isinstance(choice, bool | int | str)
