"""Reporters that do not need Ray, for example for tests and notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.progress import Interim, Progress

__all__ = ["MemoryReporter"]


class MemoryReporter:
    """Keeps all reports and interims, and the last checkpoint, in memory.

    Args:
        proceed: function called after each report that returns whether to continue; None: always.
    """

    every_worker = True

    def __init__(self, proceed: Callable[[Progress], bool] | None = None) -> None:
        self.reports: list[Progress] = []
        self.interims: list[Interim] = []
        self.state: dict[str, Any] | None = None
        self._proceed = proceed

    def restore(self) -> dict[str, Any] | None:
        """Returns the last checkpoint."""
        return self.state

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Replaces the last checkpoint."""
        self.state = state

    def reported(self) -> int:
        """Returns the number of reports received."""
        return len(self.reports)

    def interim(self, interim: Interim) -> None:
        """Keeps `interim`."""
        self.interims.append(interim)

    def report(self, progress: Progress) -> bool:
        """Stores `progress`."""
        self.reports.append(progress)
        return self._proceed is None or self._proceed(progress)
