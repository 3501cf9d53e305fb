"""A user's own guesses (`--try`): checked against the space, then proposed before those of the sampler."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gansweep.errors import ConfigError, unknown_name
from gansweep.search.parameters import DrawnTrial, SpaceParameters, contains
from gansweep.search.space_checks import allowed_values

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import optuna
    from optuna.distributions import BaseDistribution

    from gansweep.experiment import Experiment

__all__ = ["drawn_with", "enqueue_new", "guessed_parameters"]

_WHERE = "--try"
_DRAWS = 40  # draws of the open parameters, to see whether the space uses those that a guess names


def guessed_parameters(experiment: Experiment, guesses: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the guesses by the space's parameter names.

    Args:
        experiment: the experiment. Its space determines what can be guessed.
        guesses: values by parameter name, or by the configuration key that a parameter sets. The sampler chooses the
            parameters that a guess leaves open.

    Raises:
        ConfigError: no parameter has the key, a value is out of range, `--set` fixes the parameter, or the space does
            not use it together with the others.
    """
    if not guesses:
        return []
    space = SpaceParameters(experiment)
    fixed = space.fixed(experiment.overrides)
    return [_guessed(experiment, space, fixed, guess) for guess in guesses]


def enqueue_new(study: optuna.Study, proposals: Sequence[Mapping[str, Any]]) -> None:
    """Enqueues proposals that the study does not have yet, each once. A resumed sweep passes the same ones again."""
    known = [
        {**trial.system_attrs.get("fixed_params", {}), **trial.params} for trial in study.get_trials(deepcopy=False)
    ]
    enqueued: list[Mapping[str, Any]] = []
    for proposal in proposals:
        if proposal not in enqueued and not any(proposal.items() <= other.items() for other in known):
            study.enqueue_trial(dict(proposal))
            enqueued.append(proposal)


def _guessed(
    experiment: Experiment, space: SpaceParameters, fixed: Mapping[str, Any], guess: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in guess.items():
        name = space.named(key)
        if name is None:
            raise unknown_name("parameter", key, space.keys, where=_WHERE)
        if name in found:
            raise ConfigError(f"{key} is given twice, as {name} too", where=_WHERE, fix="leave out one of the two")
        if name in fixed:
            raise ConfigError(f"{key} is fixed by --set", where=_WHERE, fix="leave it out of one of the two")
        if not any(contains(distribution, value) for distribution in space.ranges[name]):
            raise ConfigError(
                f"{key} = {value!r} is not in the space", where=_WHERE, fix=allowed_values(space.ranges[name])
            )
        found[name] = value
    _check_together(found, drawn_with(experiment, {**fixed, **found}))
    return found


def _check_together(guess: Mapping[str, Any], drawn: Sequence[DrawnTrial]) -> None:
    """Refuses parameters that the space does not use, or not with this value, where the others have theirs."""
    asked: dict[str, list[BaseDistribution]] = {}
    for trial in drawn:
        for name, distribution in trial.distributions.items():
            asked.setdefault(name, []).append(distribution)
    if idle := sorted(guess.keys() - asked.keys()):
        what = f"the space does not ask for {', '.join(idle)}{_with(guess, idle)}"
        raise ConfigError(what, where=_WHERE, fix="leave it out")
    for name, value in guess.items():
        if not any(contains(distribution, value) for distribution in asked[name]):
            what = f"{name} = {value!r} is not in the space{_with(guess, [name])}"
            raise ConfigError(what, where=_WHERE, fix=allowed_values(asked[name]))


def _with(guess: Mapping[str, Any], without: Collection[str]) -> str:
    others = ", ".join(f"{name}={value}" for name, value in guess.items() if name not in without)
    return f" with {others}" if others else ""


def drawn_with(experiment: Experiment, guess: Mapping[str, Any]) -> list[DrawnTrial]:
    """Returns draws of the space that have the values of a guess, wherever the space asks for them in their range."""
    draws = random.Random(0)
    drawn: list[DrawnTrial] = []
    for _ in range(_DRAWS):
        drawn.append(DrawnTrial(guess, draws))
        # A draw may be refused. Whether the guess is refused shows when it is proposed.
        with suppress(Exception, SystemExit):
            experiment.config(drawn[-1])  # type: ignore[arg-type]
    return drawn
