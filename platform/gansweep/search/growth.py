"""Number of concurrent trials on a cluster that grows during the sweep, and requests that make it grow."""

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

_LOOK_S = 5.0  # seconds between two checks of the cluster's size


class Demand:
    """Requests nodes from the autoscaler, by pending placement groups for trials that do not fit yet.

    Ray removes pending placement groups when their job ends, even if the driver is killed. A request through
    `request_resources` would remain.

    Args:
        footprint: resources of a trial.
    """

    def __init__(self, footprint: Footprint) -> None:
        self._footprint = footprint
        self._waiting: list[PlacementGroup] = []

    def want(self, groups: int) -> None:
        """Requests room for this number of trials, in addition to those that fit. Replaces the last request."""
        from ray.util import placement_group, remove_placement_group

        pending: list[PlacementGroup] = []
        removed: list[PlacementGroup] = []
        for group in self._waiting:
            # A group that was placed is removed, so that a trial can use its room.
            placed = group.wait(timeout_seconds=0)
            if placed or len(pending) == groups:
                removed.append(group)
            else:
                pending.append(group)
        for group in removed:
            remove_placement_group(group)
        bundles = [self._footprint.bundle] * self._footprint.workers
        strategy = self._footprint.placement.upper()
        while len(pending) < groups:
            pending.append(placement_group(bundles, strategy=strategy))
        self._waiting = pending

    def withdraw(self) -> None:
        """Withdraws the request."""
        self.want(0)


class GrowingLimiter(ConcurrencyLimiter):  # type: ignore[misc]
    """Limits the number of concurrent trials to those that fit on the cluster, which is checked regularly.

    The limit never decreases. A trial that lost its node waits for room, and its own demand makes the autoscaler
    replace the node.

    Args:
        searcher: proposes trials.
        footprint: resources of a trial.
        at_once: initial number of concurrent trials.
        most: maximum number of concurrent trials; None for no maximum.
        demand: requests room for the trials that do not fit; None: no request is made.
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
        """Returns the next configuration if another trial fits."""
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
        """Returns an empty state. Tune pickles its searcher for recovery, which this platform does from the study."""
        return {}
