"""Finds configurations of a space that a sweep has not trained."""

from __future__ import annotations

import hashlib
import json
import random
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from gansweep.errors import GansweepError
from gansweep.search.parameters import DrawnTrial, combinations

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from gansweep.config import TrialConfig
    from gansweep.search.parameters import Combination

__all__ = ["Untrained", "key_of"]

MOST_DRAWN = 1000
"""Number of random draws after which the combinations of a space are gone through one by one."""

MOST_LISTED = 20_000
"""Number of such combinations after which a space counts as exhausted, at the latest."""


class Untrained:
    """Finds configurations that were not trained: at random, and if few are left, one by one.

    Args:
        config: function that returns the configuration of a trial. It raises GansweepError if that cannot be trained.
        seed: seed of the random draws.
    """

    def __init__(self, config: Callable[[DrawnTrial], TrialConfig], seed: int) -> None:
        self._config = config
        self._seed = seed
        self._listed: Iterator[Combination] | None = None

    def parameters(self, number: int, trained: Container[bytes]) -> dict[str, Any] | None:
        """Returns the parameters of a configuration that was not trained; None if the space is exhausted.

        Args:
            number: number of the trial that will have them.
            trained: keys of the trained configurations, from `key_of`.
        """
        draws = random.Random(self._seed + number)
        drawn = (DrawnTrial({}, draws) for _ in range(MOST_DRAWN))
        if self._listed is None:  # else it goes on where the last call ended: what came before was trained or refused
            self._listed = islice(combinations(draws), MOST_LISTED)
        for trial in chain(drawn, self._listed):
            trial.number = number
            with suppress(GansweepError):
                if key_of(self._config(trial)) not in trained:
                    return trial.params
        self._listed = None
        return None


def key_of(config: TrialConfig) -> bytes:
    """Returns a key of a configuration. It is the same if numbers differ by rounding errors alone."""
    # A hash, because a long sweep keeps the keys of all trials.
    return hashlib.sha256(json.dumps(_rounded(config.as_dict()), sort_keys=True).encode()).digest()


def _rounded(value: Any) -> Any:
    """Returns a value of a configuration without rounding errors: samplers propose 0.1 * 3 for 0.3."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
