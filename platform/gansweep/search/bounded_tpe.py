"""TPE for long sweeps: it looks at a bounded number of earlier trials.

TPE reads every earlier trial for each proposal. After 10,000 trials that takes 0.3 to 2 s, for which workers wait.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from gansweep.store.ranking import non_dominated_fronts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["BoundedTPESampler"]

_MOST = 2000
"""Number of ended trials from which on some are left out."""

_SHARE_OF_BEST = 0.5
"""Of the trials that stay, the share that are the best. TPE learns what is good from 25 at most."""


class BoundedTPESampler(TPESampler):
    """Optuna's TPE, which leaves out a part of the trials when there are many.

    As long as there are no more than `most` trials, it is the same as TPE. Then half as many stay: the best ones, which
    show TPE what is good, and a random part of the others, which show it how often parameters were tried. All later
    trials are seen, until there are `most` again.

    Args:
        most: maximum number of ended trials seen.
        seed: seed of the sampler's random numbers.
        options: other options of TPESampler.
    """

    def __init__(self, *, seed: int, most: int = _MOST, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        self._most = most
        self._draws = random.Random(seed)
        self._left_out: frozenset[int] = frozenset()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Called once for each proposal."""
        self._choose(study)
        return super().infer_relative_search_space(self._bounded(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Samples the parameters that earlier trials have."""
        return super().sample_relative(self._bounded(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples a parameter that no earlier trial has."""
        return super().sample_independent(self._bounded(study), trial, param_name, param_distribution)

    def _bounded(self, study: Study) -> Study:
        return cast("Study", _BoundedStudy(study, self._left_out))

    def _choose(self, study: Study) -> None:
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if len(ended) - len(self._left_out) <= self._most:
            return
        stay = self._most // 2
        ordered = self._best_first(ended, study.directions)
        best = round(_SHARE_OF_BEST * stay)
        others = self._draws.sample(ordered[best:], stay - best)
        seen = {trial.number for trial in (*ordered[:best], *others)}
        self._left_out = frozenset(trial.number for trial in ended if trial.number not in seen)

    def _best_first(self, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
        """Orders trials: by how far they break constraints, then by fronts, then at random.

        Those without values come last.
        """
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        others = [trial for trial in trials if trial.state != TrialState.COMPLETE]
        signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
        values = [trial.values for trial in complete]
        costs: NDArray[np.float64] = np.array(values).reshape(len(complete), len(directions)) * signs
        excess = np.array([sum(max(0.0, value) for value in trial.constraints.values()) for trial in complete])
        fronts = np.zeros(len(complete))
        feasible = np.flatnonzero(excess == 0)
        fronts[feasible] = non_dominated_fronts(costs[feasible])
        chance = np.array([self._draws.random() for _ in complete])
        order = np.lexsort([chance, fronts, excess])
        return [*(complete[index] for index in order), *others]


class _BoundedStudy:
    """A study without some of its trials.

    Args:
        study: all else is its own.
        left_out: numbers of the trials.
    """

    def __init__(self, study: Study, left_out: frozenset[int]) -> None:
        self._study = study
        self._left_out = left_out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        """Returns the trials that samplers see. Optuna's own have no public way to them."""
        trials = self._study._get_trials(*args, **kwargs)  # noqa: SLF001
        return [trial for trial in trials if trial.number not in self._left_out]
