"""Samplers by name, and the spaces that they support."""

from __future__ import annotations

import importlib.util
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

from gansweep.errors import ConfigError
from gansweep.experiment import sampler_text
from gansweep.search.bounded_tpe import BoundedTPESampler
from gansweep.search.parameters import values_in
from gansweep.search.spaces import users_code

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.distributions import BaseDistribution

    from gansweep.config import Objective
    from gansweep.constraint import Constraint

__all__ = ["check_constraints", "check_own_sampler", "check_sampler", "make_sampler", "name_of"]

_SAME_IN_EVERY_TRIAL = frozenset({"gp", "cma-es", "qmc"})
"""Samplers that choose parameters at random if they are not in every trial."""

_CONSTRAINED = ("tpe", "gp", "nsga-ii", "nsga-iii")
"""Samplers that learn to keep constraints."""

_CLASSES = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cma-es": optuna.samplers.CmaEsSampler,
    "nsga-iii": optuna.samplers.NSGAIIISampler,
    "nsga-ii": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
}

_STOPPING = (optuna.samplers.BruteForceSampler, optuna.samplers.GridSampler)
"""Samplers that stop a study themselves, which fails outside `Study.optimize`."""

_TRIED = 12
"""Trials for which a user's sampler is tried: most of Optuna's samplers choose their first ten at random."""

_MOST_VALUES = 10_000
"""Optuna lists all values of a parameter for each proposal of a grid: a million take 0.1 GB and half a second."""

_OTHERS = "choose tpe, nsga-ii or random"


def make_sampler(
    kind: str | Callable[..., Any], seed: int, proposed: int, startup_trials: int
) -> optuna.samplers.BaseSampler:
    """Creates the sampler of an experiment.

    Args:
        kind: `Experiment.sampler`: a name, or a class with its arguments.
        seed: seed of its random numbers.
        proposed: number of proposals made by earlier calls of a resumed sweep. A random sampler gets a new stream for
            each number, because it would otherwise repeat its proposals. A sampler with a sequence continues it.
        startup_trials: number of random trials before a model is used, by samplers with a name.

    Raises:
        ConfigError: the user's class raised.
    """
    # `group`, multivariate TPE and some samplers have been marked experimental since 2021.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    stream = seed + proposed
    if not isinstance(kind, str):
        with users_code(f"sampler {sampler_text(kind)}"):
            own: optuna.samplers.BaseSampler = kind(seed=stream)
        return own
    if kind == "tpe":
        return BoundedTPESampler(
            seed=stream,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=startup_trials,
        )
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=stream, n_startup_trials=startup_trials, deterministic_objective=False)
    if kind == "cma-es":
        return optuna.samplers.CmaEsSampler(
            seed=stream, n_startup_trials=startup_trials, warn_independent_sampling=False
        )
    if kind in ("nsga-ii", "nsga2"):
        return optuna.samplers.NSGAIISampler(seed=stream)
    if kind == "nsga-iii":
        return optuna.samplers.NSGAIIISampler(seed=stream)
    if kind == "qmc":
        # The study stores its position in the sequence, under the seed.
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    if kind == "grid":
        return _Grid(seed=seed)
    return optuna.samplers.RandomSampler(seed=stream)


def name_of(sampler: str | Callable[..., Any]) -> str:
    """Returns the name of the sampler whose limits a sampler has: its own, or that of its class's base class.

    Returns the text of the sampler if its class is none of them.
    """
    if isinstance(sampler, str):
        return sampler
    made: Any = sampler.func if isinstance(sampler, partial) else sampler
    for name, base in _CLASSES.items():
        if issubclass(made, base):
            return name
    return sampler_text(sampler)


class Searched(Protocol):
    """The free parameters of a space."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """The distribution of each parameter."""

    @property
    def conditional(self) -> Sequence[str]:
        """The parameters that not every trial has."""


def check_sampler(kind: str, objectives: Sequence[str], space: Searched) -> None:
    """Refuses a sampler that cannot search this space.

    Args:
        kind: name of the sampler.
        objectives: names of the objectives.
        space: free parameters.

    Raises:
        ConfigError: states the reason, and the samplers that are suitable.
    """
    if kind == "cma-es" and importlib.util.find_spec("cmaes") is None:
        raise ConfigError("sampler cma-es needs the package cmaes", where="sampler", fix="pip install cmaes")
    if kind == "cma-es" and len(objectives) > 1:
        names = ", ".join(objectives)
        what = f"cma-es searches for one objective, and there are {len(objectives)}: {names}"
        raise ConfigError(what, where="sampler", fix="choose tpe, gp, nsga-ii or nsga-iii")
    if kind == "cma-es":
        numbers = [name for name, item in space.distributions.items() if not isinstance(item, CategoricalDistribution)]
        if len(numbers) < 2:
            what = f"cma-es needs two parameters that are numbers, and the space has {len(numbers)}"
            raise ConfigError(what, where="sampler", fix=_OTHERS)
    if kind in _SAME_IN_EVERY_TRIAL and space.conditional:
        what = f"{kind} needs the same parameters in every trial; some trials lack {_some(space.conditional)}"
        raise ConfigError(what, where="sampler", fix=f"{_OTHERS}, or --set what they depend on")
    if kind == "grid":
        endless = [
            name
            for name, item in space.distributions.items()
            if isinstance(item, FloatDistribution) and item.step is None and item.low < item.high
        ]
        if endless:
            what = f"a grid needs a finite space; {_some(endless)} can be any number of a range"
            raise ConfigError(what, where="sampler", fix="give suggest_float a step, --set them, or choose qmc")
        large = [name for name, item in space.distributions.items() if (values_in(item) or 0) > _MOST_VALUES]
        if large:
            what = f"a grid lists all values; {_some(large)} can have more than {_MOST_VALUES:,}"
            raise ConfigError(what, where="sampler", fix="give suggest_int a larger step, --set them, or choose qmc")


def check_own_sampler(sampler: str | Callable[..., Any], objectives: Sequence[Objective], space: Searched) -> None:
    """Tries a user's sampler for a dozen trials, in memory. Does nothing for a sampler with a name.

    Args:
        sampler: `Experiment.sampler`.
        objectives: the objectives.
        space: free parameters.

    Raises:
        ConfigError: it is an exhaustive sampler of Optuna, or it raises.
    """
    if isinstance(sampler, str):
        return
    made = make_sampler(sampler, 0, 0, 0)
    text = sampler_text(sampler)
    if isinstance(made, _STOPPING):
        raise ConfigError(f"{text} stops a study itself, and not the sweep", where="sampler", fix="choose grid")
    study = optuna.create_study(directions=[objective.direction for objective in objectives], sampler=made)
    for number in range(_TRIED):
        with users_code(f"sampler {text}"):
            trial = study.ask(dict(space.distributions))
            study.tell(trial, [float(number)] * len(objectives))


def check_constraints(kind: str, constraints: Sequence[Constraint]) -> None:
    """Refuses constraints that nothing would keep.

    Args:
        kind: the sampler's name.
        constraints: of the experiment.

    Raises:
        ConfigError: the sampler takes no constraints.
    """
    if constraints and kind not in (*_CONSTRAINED, "nsga2"):
        what = f"{kind} takes no constraints, and there are {len(constraints)}"
        raise ConfigError(what, where="sampler", fix=f"choose one of {', '.join(_CONSTRAINED)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:5]) + ", ..." * (len(names) > 5)


class _Grid(optuna.samplers.BruteForceSampler):
    """Optuna's exhaustive sampler, usable outside `Study.optimize`, where it cannot stop the study.

    After the last combination it repeats earlier proposals, which the search skips.
    """

    def after_trial(self, *_: object) -> None:
        """Does not stop the study."""
