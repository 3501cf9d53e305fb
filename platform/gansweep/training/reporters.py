"""Reporters for use without Ray: in a test, in a notebook, in production training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gansweep.contracts import Progress

__all__ = ["MemoryReporter"]


class MemoryReporter:
    """Keeps every report in a list, and the last checkpoint in memory or in a file.

    Args:
        path: where checkpoints go; None: memory.
        proceed: asked after each report whether to go on; None: always.
    """

    def __init__(self, path: Path | None = None, proceed: Callable[[Progress], bool] | None = None) -> None:
        self.reports: list[Progress] = []
        self.state: dict[str, Any] | None = None
        self._path, self._proceed = path, proceed

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint, read from the file where there is one."""
        if self._path is not None and self._path.exists():
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
            return state
        return self.state

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Replaces the last checkpoint; a file appears by rename, never half-written."""
        self.state = state
        if self._path is not None:
            partial = self._path.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(self._path)

    def reported(self) -> int:
        """How many reports were received."""
        return len(self.reports)

    def report(self, progress: Progress) -> bool:
        """Keeps `progress`."""
        self.reports.append(progress)
        return self._proceed is None or self._proceed(progress)
