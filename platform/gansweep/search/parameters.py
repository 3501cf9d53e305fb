"""Finds which configuration keys each parameter of a space sets.

A space is code, so what a parameter does shows only when the space runs. It is therefore run on drawn values. A
parameter sets those keys that had its value in every run.
"""

from __future__ import annotations

import json
import math
import random
import warnings
from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import BaseTrial

from gansweep.store.schema import flat_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from optuna.distributions import BaseDistribution

    from gansweep.experiment import Experiment

__all__ = [
    "Combination",
    "DrawnTrial",
    "SpaceParameters",
    "WithFixed",
    "combinations",
    "parameters_from_json",
    "parameters_to_json",
    "values_in",
]

_DRAWS = 60  # enough to reach every branch of a space with eight families


class DrawnTrial:
    """A trial outside any study, with given or drawn values. It has the methods that a space calls.

    Args:
        values: values by parameter name. Values outside their distribution are ignored.
        draws: random generator for the other parameters.
        number: number of the trial, on which a space may depend.
    """

    def __init__(self, values: Mapping[str, Any], draws: random.Random, number: int = 0) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.taken: set[str] = set()
        """Parameters that have the value that was given."""
        self.number = number
        self._values = values
        self._draws = draws

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggests a value as Optuna does."""
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Suggests a value as Optuna does."""
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggests a value as Optuna does."""
        with warnings.catch_warnings():
            # Optuna warns of choices that a study cannot store. A sweep refuses them.
            warnings.simplefilter("ignore", UserWarning)
            distribution = CategoricalDistribution(choices)
        return self._suggest(name, distribution)

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            given = name in self._values and contains(distribution, self._values[name])
            self.taken |= {name} if given else set()
            self.params[name] = self._values[name] if given else self._drawn(distribution)
            self.distributions[name] = distribution
        return self.params[name]

    def _drawn(self, distribution: BaseDistribution) -> Any:
        count = values_in(distribution)
        if count is None or getattr(distribution, "log", False):
            return _drawn_of_range(distribution, self._draws)
        return _value(distribution, self._draws.randrange(count))

    def __getattr__(self, name: str) -> Any:
        # Other attributes that a space may read (user attributes) do not affect parameters.
        if name.startswith("_") or not hasattr(BaseTrial, name):
            raise AttributeError(name)
        return {"user_attrs": {}, "system_attrs": {}}.get(name, lambda *_, **__: None)


class Combination(DrawnTrial):
    """A trial of a list of all. Only parameters that can be any number of a range are drawn.

    Args:
        places: place of each value among those of its parameter, in the order in which the space asks. Further
            parameters have their first value.
        draws: random generator.
    """

    def __init__(self, places: Sequence[int], draws: random.Random) -> None:
        super().__init__({}, draws)
        self._places = list(places)
        self._counts: list[int] = []

    def _drawn(self, distribution: BaseDistribution) -> Any:
        asked = len(self._counts)
        count = values_in(distribution)
        self._counts.append(count or 1)
        if asked == len(self._places):
            self._places.append(0)
        return (
            _drawn_of_range(distribution, self._draws) if count is None else _value(distribution, self._places[asked])
        )

    def following(self) -> list[int] | None:
        """Returns the places of the next combination after the space has run; None if this was the last."""
        for last in reversed(range(len(self._counts))):
            if self._places[last] + 1 < self._counts[last]:
                return [*self._places[:last], self._places[last] + 1]
        return None


def combinations(draws: random.Random) -> Iterator[Combination]:
    """Yields a trial for each combination of values in a space. The space must run before the next one is taken."""
    places: list[int] | None = []
    while places is not None:
        trial = Combination(places, draws)
        yield trial
        places = trial.following()


class WithFixed:
    """A study's trial with some fixed parameters: the space sees their values, the study does not.

    Args:
        trial: the study's trial.
        fixed: values by parameter name.
    """

    def __init__(self, trial: BaseTrial | DrawnTrial, fixed: Mapping[str, Any]) -> None:
        self._trial = trial
        self._fixed = fixed

    def suggest_float(self, name: str, *bounds: Any, **how: Any) -> float:
        """Suggests a value as Optuna does."""
        return float(self._fixed[name]) if name in self._fixed else self._trial.suggest_float(name, *bounds, **how)

    def suggest_int(self, name: str, *bounds: Any, **how: Any) -> int:
        """Suggests a value as Optuna does."""
        return int(self._fixed[name]) if name in self._fixed else self._trial.suggest_int(name, *bounds, **how)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggests a value as Optuna does."""
        return self._fixed[name] if name in self._fixed else self._trial.suggest_categorical(name, choices)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)


class SpaceParameters:
    """The parameters of an experiment's space, found by drawn trials.

    Args:
        experiment: the experiment. Its overrides are ignored.
        fixed: parameters that are no longer free, with their values.
        draws: number of runs of the space.
    """

    def __init__(self, experiment: Experiment, fixed: Mapping[str, Any] | None = None, *, draws: int = _DRAWS) -> None:
        self.refusal: BaseException | None = None
        """The first that the space raised, if it raised."""
        self._experiment = experiment
        self._fixed = fixed or {}
        self._keys: dict[str, set[str]] = {}
        self._seen: dict[str, int] = {}
        self._draws = 0
        self._ranges: dict[str, list[BaseDistribution]] = {}
        values = random.Random(0)
        for _ in range(draws):
            self._look(DrawnTrial({}, values))

    @property
    def ranges(self) -> Mapping[str, Sequence[BaseDistribution]]:
        """The distributions of each parameter, in order of appearance: a space may change them from trial to trial.

        Empty if the space refused every draw.
        """
        return self._ranges

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Returns the first distribution of each parameter."""
        return {name: ranges[0] for name, ranges in self._ranges.items()}

    @property
    def present(self) -> dict[str, float]:
        """Returns the fraction of configurations that have each parameter."""
        return {name: count / self._draws for name, count in self._seen.items()}

    @property
    def keys(self) -> Mapping[str, frozenset[str]]:
        """The configuration keys that each parameter sets.

        Empty for parameters whose value does not appear unchanged.
        """
        return {name: frozenset(keys) for name, keys in self._keys.items()}

    @property
    def conditional(self) -> list[str]:
        """Returns the parameters that are not in every trial."""
        return sorted(name for name, count in self._seen.items() if count < self._draws)

    def named(self, key: str) -> str | None:
        """Returns the parameter that a user means by `key`: the one of that name, or the only one that sets that key.

        A configuration key may omit its first parts if it is unambiguous: `width` for `architecture.width`.
        """
        if key in self._keys:
            return key
        found = [name for name, keys in self._keys.items() if key in keys]
        return found[0] if len(found) == 1 else None

    def fixed(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parameters that `overrides` make irrelevant, with the values that the space sees instead.

        A parameter is irrelevant if every key that it sets is overridden. The space sees the override if its branches
        can handle it: a value that the parameter could have, or any number for a numeric parameter. Otherwise it sees
        the parameter's first value.
        """
        values: dict[str, Any] = {}
        for name, keys in self._keys.items():
            if keys and keys <= overrides.keys():
                values[name] = _seen(self.distributions[name], overrides[min(keys)])
        return values

    def of_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the value of each parameter in a flat configuration, if it is known."""
        return {name: config[min(keys)] for name, keys in self._keys.items() if keys and min(keys) in config}

    def _look(self, trial: DrawnTrial) -> None:
        try:
            config = flat_config(self._experiment.space(WithFixed(trial, self._fixed)))
        except (Exception, SystemExit) as error:
            self.refusal = self.refusal or error
            return  # a refused draw gives no information; the reason is reported elsewhere
        self._draws += 1
        for name, value in trial.params.items():
            self._seen[name] = self._seen.get(name, 0) + 1
            same = {key for key, other in config.items() if _equal(other, value)}
            self._keys[name] = self._keys[name] & same if name in self._keys else same
            ranges = self._ranges.setdefault(name, [])
            if trial.distributions[name] not in ranges:
                ranges.append(trial.distributions[name])


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Returns whether a parameter with this distribution can have the value."""
    if isinstance(distribution, CategoricalDistribution):
        return any(_equal(value, choice) for choice in distribution.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(distribution, IntDistribution) and value != int(value):
        return False
    return bool(distribution._contains(distribution.to_internal_repr(value)))  # noqa: SLF001 (Optuna has no public one)


def parameters_to_json(trial: BaseTrial | DrawnTrial) -> str:
    """Returns a trial's parameters as stored in a row: `{name: {"value": ..., "distribution": ...}}`."""
    return json.dumps(
        {
            name: {"value": value, "distribution": json.loads(distribution_to_json(trial.distributions[name]))}
            for name, value in trial.params.items()
        }
    )


def parameters_from_json(text: str) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Reads the result of `parameters_to_json`.

    Returns values and distributions by name; both empty for an empty or damaged text.
    """
    try:
        kept = json.loads(text or "{}")
        values = {name: item["value"] for name, item in kept.items()}
        distributions = {name: json_to_distribution(json.dumps(item["distribution"])) for name, item in kept.items()}
        # Raises, or is not finite, if the value is of another kind than the distribution.
        inside = [distributions[name].to_internal_repr(value) for name, value in values.items()]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return {}, {}
    return (values, distributions) if all(map(math.isfinite, inside)) else ({}, {})


def _equal(one: Any, other: Any) -> bool:
    """Returns whether two values are equal and of the same kind, because in Python `True == 1`."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _seen(distribution: BaseDistribution, value: Any) -> Any:
    if contains(distribution, value):
        return value
    if not isinstance(distribution, CategoricalDistribution):
        return value if _is_number(value) else distribution.to_external_repr(_low(distribution))
    first = distribution.choices[0]
    return value if _is_number(value) and _is_number(first) else first


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _low(distribution: BaseDistribution) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return float(distribution.low)


def values_in(distribution: BaseDistribution) -> int | None:
    """Returns the number of values of a parameter; None if it can be any number of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step is None:
        return 1 if distribution.low == distribution.high else None
    # Rounding may leave the quotient just below an integer.
    return int((distribution.high - distribution.low) / distribution.step + 1e-9) + 1


def _value(distribution: BaseDistribution, place: int) -> Any:
    """Returns one of the values that `values_in` counts."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[place]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    # Rounding may lead just beyond the end, and Optuna refuses such a value.
    value = min(distribution.low + (distribution.step or 0) * place, distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def _drawn_of_range(distribution: BaseDistribution, draws: random.Random) -> float:
    """Returns a number of a range, drawn uniformly or, if the range is logarithmic, uniformly by its logarithm."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low = distribution.low
    high = distribution.high
    if not distribution.log:
        return draws.uniform(low, high)
    rounded = isinstance(distribution, IntDistribution)
    half = 0.5 if rounded else 0.0  # what rounds to the first or last integer
    drawn = math.exp(draws.uniform(math.log(low - half), math.log(high + half)))
    # Rounding may lead just beyond the ends.
    return min(max(round(drawn) if rounded else drawn, low), high)
