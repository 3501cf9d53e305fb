"""Lists the parameters of a search space by making many proposals, because a define-by-run space has no list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansweep.search.parameters import SpaceParameters
from gansweep.search.spaces import users_code

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from gansweep.experiment import Experiment

__all__ = ["Parameter", "space_parameters"]

PROPOSALS = 300
"""Number of proposals. A parameter that one proposal in a hundred has is missed with a probability of one in twenty."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a space.

    Args:
        name: name in Optuna.
        values: the range, or the choices.
        first: its value in the space's first trials, if they specify one.
        present: fraction of proposals that have it; below 1 if it exists only for some choices.
    """

    name: str
    values: str
    first: Any
    present: float


def space_parameters(experiment: Experiment) -> list[Parameter]:
    """Returns the parameters that a space uses, those of all proposals first.

    Args:
        experiment: the search. Parameters that its overrides fix are omitted.

    Raises:
        ConfigError: the space raises for every proposal.
    """
    space = SpaceParameters(experiment, draws=PROPOSALS)
    if not space.ranges and space.refusal is not None:
        with users_code(f"space {experiment.name}"):
            raise space.refusal
    first = {name: value for values in reversed(experiment.first_trials) for name, value in values.items()}
    fixed = space.fixed(experiment.overrides)
    parameters = [
        Parameter(name, " or ".join(map(_text, ranges)), first.get(name), space.present[name])
        for name, ranges in space.ranges.items()
        if name not in fixed
    ]
    return sorted(parameters, key=lambda parameter: -parameter.present)


def _text(distribution: BaseDistribution) -> str:
    import optuna

    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    text = f"{distribution.low:g} to {distribution.high:g}"
    step = f", in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    return f"{text}{step}{', logarithmic' if distribution.log else ''}"
