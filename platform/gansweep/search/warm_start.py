"""A warm start (`--warm-start`): the best configurations of earlier sweeps are proposed first.

Their scores are not mixed into the new study. Another cohort, other patients for validation, another number of
iterations or another encoder change what a score means, and a sampler cannot know it. The configurations are trained
again, and the sampler learns from what they score here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gansweep.errors import StoreError
from gansweep.search.guesses import drawn_with
from gansweep.search.parameters import SpaceParameters, contains, parameters_from_json
from gansweep.search.retraining import ranked_leaders
from gansweep.store.schema import flat_config
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.distributions import BaseDistribution

    from gansweep.experiment import Experiment
    from gansweep.store.schema import TrialRow

__all__ = ["MOST_PROPOSED", "warm_proposals"]

log = logging.getLogger(__name__)

MOST_PROPOSED = 5
"""Maximum number of configurations from each earlier sweep. They replace half of the random trials of a search."""


def warm_proposals(experiment: Experiment, stores: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the leaders of earlier sweeps by the parameters of this experiment's space, best first and each once.

    A parameter that the earlier space did not have, or whose value this space does not allow, stays open: the sampler
    chooses it. Parameters that `--set` fixes are left out.

    Args:
        experiment: the new search.
        stores: URIs of the earlier sweeps' stores.

    Raises:
        StoreError: no store, no completed trial, or leaders that share no parameter with this space.
    """
    if not stores:
        return []
    space = SpaceParameters(experiment)
    fixed = space.fixed(experiment.overrides)
    found: list[dict[str, Any]] = []
    for uri in stores:
        store = Store.open(uri)
        leaders, _ = ranked_leaders(store, MOST_PROPOSED, "start from")
        rows = {row.trial_id: row for row in store.latest_rows()}
        proposals = [_proposal(experiment, space, fixed, rows[leader]) for leader in leaders]
        if not any(proposals):
            raise StoreError(
                f"its configurations share no parameter with the space {experiment.name}",
                where=store.label,
                fix="leave --warm-start out, or name a sweep of a similar space",
            )
        found += [proposal for proposal in proposals if proposal and proposal not in found]
    log.info("%d configurations of earlier sweeps are tried first", len(found))
    return found


def _proposal(
    experiment: Experiment, space: SpaceParameters, fixed: Mapping[str, Any], row: TrialRow
) -> dict[str, Any]:
    """Returns a configuration as parameters of the space, without those that the space does not use or allow."""
    named, _ = parameters_from_json(row.parameters)
    values = named | space.of_config(flat_config(row.config))
    free = {name: value for name, value in values.items() if name not in fixed}
    allowed = {name: value for name, value in free.items() if _allows(space.ranges.get(name, ()), value)}
    taken = {name for trial in drawn_with(experiment, allowed) for name in trial.taken}
    return {name: value for name, value in allowed.items() if name in taken}


def _allows(ranges: Sequence[BaseDistribution], value: Any) -> bool:
    return any(contains(distribution, value) for distribution in ranges)
