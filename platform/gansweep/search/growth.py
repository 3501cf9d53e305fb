"""How many trials run at a time while a cluster grows under them, and what makes it grow."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from ray.tune.search import ConcurrencyLimiter

from gansweep.search.cluster import groups_that_fit, node_resources

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

    from gansweep.search.cluster import Footprint
    from gansweep.search.searcher import StudySearcher

__all__ = ["Demand", "GrowingLimiter"]

log = logging.getLogger(__name__)

_LOOK_S = 5.0  # between two looks at the cluster


class Demand:
    """What tells an autoscaler of trials that have no room yet: placement groups that wait for it.

    A request through Ray's `request_resources` outlives a driver that is killed. These end with their job, however it
    ends.

    Args:
        footprint: of a trial.
    """

    def __init__(self, footprint: Footprint) -> None:
        self._footprint = footprint
        self._waiting: list[PlacementGroup] = []

    def want(self, groups: int) -> None:
        """Asks for room for so many trials more than there is, in place of what was asked before."""
        from ray.util import placement_group, remove_placement_group

        # Room that came is given to a trial: the group itself must not keep it.
        came = [group for group in self._waiting if group.wait(timeout_seconds=0)]
        kept = [group for group in self._waiting if group not in came]
        surplus = kept[groups:]
        for group in came + surplus:
            remove_placement_group(group)
        bundles = [self._footprint.bundle] * self._footprint.workers
        strategy = self._footprint.placement.upper()
        more = [placement_group(bundles, strategy=strategy) for _ in range(groups - len(kept))]
        self._waiting = kept[:groups] + more

    def withdraw(self) -> None:
        """Asks for nothing any more."""
        self.want(0)


class GrowingLimiter(ConcurrencyLimiter):  # type: ignore[misc]
    """Lets as many trials begin as the cluster has room for, looked at again and again.

    The number never shrinks: a trial that lost its node waits for room, and by that asks the autoscaler for it.

    Args:
        searcher: proposes trials.
        footprint: of a trial.
        at_once: trials at a time to begin with.
        most: trials at a time however large the cluster is; None: no bound.
        demand: told how many trials more could run; None: the cluster grows by itself, or not.
    """

    max_concurrent: int

    def __init__(
        self,
        searcher: StudySearcher,
        footprint: Footprint,
        at_once: int,
        most: int | None = None,
        demand: Demand | None = None,
    ) -> None:
        super().__init__(searcher, max_concurrent=at_once)
        self._footprint = footprint
        self._most = most
        self._demand = demand
        self._looked = 0.0

    def suggest(self, trial_id: str) -> Any:
        """The next configuration, if there is room for a further trial."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._look()
            self._looked = time.monotonic()
        return super().suggest(trial_id)

    def _look(self) -> None:
        fits = groups_that_fit(self._footprint, node_resources())
        room = fits if self._most is None else min(fits, self._most)
        if room > self.max_concurrent:
            log.info("the cluster has grown: %d trials at a time", room)
            self.max_concurrent = room
        if self._demand is not None and self._most is not None:
            self._demand.want(max(0, self._most - room))

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restoration that this platform does from the study instead."""
        return {}
