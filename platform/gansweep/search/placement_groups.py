"""Removes the placement groups, Ray's reservations of resources, that are left on a cluster.

Ray removes a placement group when the job that made it has ended. One of an actor that was killed stays until then, and
its resources with it. Ray Train therefore starts a process beside each worker group, on the head of the cluster, that
waits for the end of the group's controller. Here a thread of the driver does this for all groups.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gansweep.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["forgotten", "of_this_job", "removal_of_abandoned", "remove"]

_PERIOD_S = 2.0
_LONGEST_PERIOD_S = 60.0
_REST = 50
"""The thread rests so many times longer than a look took. Ray lists those that were removed, too: 14 us each."""
_MOST_LISTED = 10_000  # Ray's own maximum

log = logging.getLogger(__name__)


@contextmanager
def removal_of_abandoned() -> Iterator[None]:
    """Removes this job's placement groups whose actor has died, while the block runs."""
    over = threading.Event()
    thread = threading.Thread(target=_remove_abandoned, args=(over,), name="placement groups", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_PERIOD_S)  # a lost cluster does not answer


def _remove_abandoned(over: threading.Event) -> None:
    from ray._private.client_mode_hook import client_mode_wrap

    # Through a Ray client, only a task on the cluster reaches the table.
    listed = client_mode_wrap(_abandoned)
    pause_s = _PERIOD_S
    while not over.wait(pause_s):
        began = time.monotonic()
        try:
            names = listed()
            remove(names)
        except Exception as error:
            # The cluster may be lost or about to end.
            log.debug("abandoned placement groups are unknown: %s", one_line(error, 200))
            continue
        finally:
            # A head that starts again may take long to answer once.
            pause_s = min(max(_PERIOD_S, _REST * (time.monotonic() - began)), _LONGEST_PERIOD_S)
        if names:
            log.debug("%d placement groups of actors that have died are removed", len(names))


def _abandoned() -> list[str]:
    """Returns the ids of this job's placement groups whose actor has died."""
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    job = ray.get_runtime_context().get_job_id()
    table = state._connect_and_get_accessor()  # noqa: SLF001 (the public table does not name the actor)
    groups = map(PlacementGroupTableData.FromString, table.get_placement_group_table())
    return [
        group.placement_group_id.hex()
        for group in groups
        if group.creator_actor_dead
        and not ray.ActorID(group.creator_actor_id).is_nil()  # the driver's own, whose actor counts as dead
        and group.creator_job_id.hex() == job
        and group.state != PlacementGroupTableData.REMOVED
        and not group.is_detached
    ]


def forgotten() -> list[str]:
    """Returns the ids of placement groups of drivers that have ended, those that are meant to outlive them excluded.

    Ray removes such a group itself, unless the actor that made it was killed before Ray had noted it.
    """
    from ray.util.state import list_jobs, list_placement_groups

    try:
        if not _lists_jobs():
            return []
        groups = list_placement_groups(detail=True, limit=_MOST_LISTED)
        ended = {job.job_id for job in list_jobs(detail=True, limit=_MOST_LISTED) if job.job_id and job.end_time}
    except Exception as error:
        # A Ray client, which Ray would connect once more to find the dashboard.
        log.debug("reservations of drivers that have ended are unknown: %s", one_line(error, 200))
        return []
    found = [
        group.placement_group_id
        for group in groups
        if group.creator_job_id in ended and group.state != "REMOVED" and not group.is_detached
    ]
    if found:
        log.warning("%d reservations on the cluster are of drivers that have ended, and are removed", len(found))
    return found


def _lists_jobs() -> bool:
    """Returns whether the cluster has a dashboard, which lists jobs. Ray would wait 40 s for one, at each question."""
    from ray._private.ray_constants import DASHBOARD_ADDRESS, KV_NAMESPACE_DASHBOARD
    from ray.experimental.internal_kv import _internal_kv_get

    return _internal_kv_get(DASHBOARD_ADDRESS, namespace=KV_NAMESPACE_DASHBOARD) is not None


def remove(names: Iterable[str]) -> None:
    """Removes placement groups.

    Args:
        names: their ids in hexadecimal digits.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for name in names:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))


def of_this_job() -> set[str]:
    """Returns the ids of this job's placement groups that were not removed. An id ends with that of its job."""
    import ray
    from ray.util.placement_group import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    groups = placement_group_table()
    return {name for name, group in groups.items() if name.endswith(job) and group["state"] != "REMOVED"}
