"""Number of concurrent trials on a cluster that grows during the sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.search import ConcurrencyLimiter

if TYPE_CHECKING:
    from gansweep.search.room import Room
    from gansweep.search.searcher import StudySearcher

__all__ = ["GrowingLimiter"]


class GrowingLimiter(ConcurrencyLimiter):  # type: ignore[misc]
    """Limits the number of concurrent trials to those for which the cluster has room.

    Args:
        searcher: proposes trials.
        room: number of trials that may run at once.
    """

    max_concurrent: int

    def __init__(self, searcher: StudySearcher, room: Room) -> None:
        super().__init__(searcher, max_concurrent=room.groups())
        self._room = room

    def suggest(self, trial_id: str) -> Any:
        """Returns the next configuration if another trial fits."""
        self.max_concurrent = self._room.groups()
        return super().suggest(trial_id)

    def __getstate__(self) -> dict[str, Any]:
        """Returns an empty state. Tune pickles its searcher for recovery, which this platform does from the study."""
        return {}
