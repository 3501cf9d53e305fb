"""A user's own guesses (`--try`): checked against the space, then proposed before those of the sampler."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from gansweep.errors import ConfigError, unknown_name
from gansweep.search.parameters import DrawnTrial, SpaceParameters, contains
from gansweep.search.space_checks import allowed_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna

    from gansweep.experiment import Experiment

__all__ = ["enqueue_new", "guessed_parameters", "used_parameters"]

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
        distribution = space.distributions[name]
        if not contains(distribution, value):
            raise ConfigError(f"{key} = {value!r} is not in the space", where=_WHERE, fix=allowed_values(distribution))
        found[name] = value
    if idle := sorted(found.keys() - used_parameters(experiment, found)):
        others = ", ".join(f"{key}={value}" for key, value in found.items() if key not in idle)
        what = f"the space does not ask for {', '.join(idle)}" + (f" with {others}" if others else "")
        raise ConfigError(what, where=_WHERE, fix="leave it out")
    return found


def used_parameters(experiment: Experiment, guess: Mapping[str, Any]) -> set[str]:
    """Returns the parameters that the space uses in any draw that is consistent with a guess."""
    draws = random.Random(0)
    asked: set[str] = set()
    for _ in range(_DRAWS):
        trial = DrawnTrial(guess, draws)
        try:
            experiment.config(trial)  # type: ignore[arg-type]
        except (Exception, SystemExit):  # noqa: S112
            continue  # this draw is refused; whether the guess is refused shows when it is proposed
        finally:
            asked |= trial.params.keys()
    return asked
