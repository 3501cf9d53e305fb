"""Room for trainings on a cluster that may grow while they run, and requests that make it grow."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gansweep.search.cluster import check_capacity, groups_that_fit, grown, node_resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.util.placement_group import PlacementGroup

    from gansweep.search.cluster import Footprint

__all__ = ["Demand", "Room", "room_for"]

log = logging.getLogger(__name__)

_LOOK_S = 5.0  # seconds between two checks of the cluster's size


class Demand:
    """Requests nodes from the autoscaler, by pending placement groups for trainings that do not fit yet.

    Ray removes pending placement groups when their job ends, even if the driver is killed. A request through
    `request_resources` would remain.

    Args:
        footprint: resources of a training.
    """

    def __init__(self, footprint: Footprint) -> None:
        self._footprint = footprint
        self._waiting: list[PlacementGroup] = []

    def want(self, groups: int) -> None:
        """Requests room for this number of trainings, in addition to those that fit. Replaces the last request."""
        from ray.util import placement_group, remove_placement_group

        pending: list[PlacementGroup] = []
        removed: list[PlacementGroup] = []
        for group in self._waiting:
            # A group that was placed is removed, so that a training can use its room.
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


class Room:
    """Number of trainings that run at once on a cluster, which is checked regularly.

    The number never decreases. A training that lost its node waits for room, and its own demand makes the autoscaler
    replace the node.

    Args:
        footprint: resources of a training.
        groups: number of trainings at once in the beginning.
        most: maximum number of trainings at once; None for no maximum.
        demand: requests room for the trainings that do not fit; None: no request is made.
    """

    def __init__(
        self, footprint: Footprint, groups: int, most: int | None = None, demand: Demand | None = None
    ) -> None:
        self._footprint = footprint
        self._groups = groups
        self._most = most
        self._demand = demand
        self._looked = 0.0

    def groups(self) -> int:
        """Returns how many trainings may run at once now."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._look()
            self._looked = time.monotonic()
        return self._groups

    def _look(self) -> None:
        fits = groups_that_fit(self._footprint, node_resources())
        room = fits if self._most is None else min(fits, self._most)
        if room > self._groups:
            log.info("the cluster has grown: %d trials at a time", room)
            self._groups = room
        if self._demand is not None and self._most is not None:
            self._demand.want(max(0, self._most - room))


@contextmanager
def room_for(trainings: int, footprint: Footprint, wait_s: float) -> Iterator[Room]:
    """Provides the room of a cluster for a number of trainings, at least one of which fits.

    Args:
        trainings: number of trainings to run.
        footprint: resources of each.
        wait_s: seconds to wait until an autoscaling cluster has room for one. In the block, room for the others is
            requested; 0: nothing is waited for or requested.

    Raises:
        ClusterError: not even one training fits on the cluster.
    """
    fits = check_capacity(footprint, grown(footprint, trainings, wait_s))
    demand = Demand(footprint) if wait_s else None
    try:
        yield Room(footprint, min(fits, trainings), trainings, demand)
    finally:
        if demand is not None:
            demand.withdraw()
