"""Progress of a training between two reports, with its speed and the remaining time."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gansweep.progress import Interim

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TELL_SECONDS", "Pace"]

TELL_SECONDS = 30.0
"""Minimum time between two progress messages, in seconds. Each waits for the device, which is short beside this."""


class Pace:
    """Measures the speed of a training since it started or was resumed.

    Args:
        iterations: budget in generator iterations.
        reports: number of reports of the whole training.
        iteration: number of generator iterations completed at the start.
        images_seen: number of real images shown to the critic at the start.
    """

    def __init__(self, iterations: int, reports: int, iteration: int, images_seen: int) -> None:
        self._iterations = iterations
        self._reports = reports
        self._first = iteration
        self._images = images_seen
        self._measured = 0.0  # seconds of training when the images were last counted
        self._told = time.monotonic()

    def due(self) -> bool:
        """Returns whether the next progress message is due."""
        return time.monotonic() - self._told >= TELL_SECONDS

    def seconds_per_iteration(self, iteration: int, trained: float) -> float | None:
        """Returns the mean time of an iteration since the start; None if there was none.

        Args:
            iteration: number of completed generator iterations.
            trained: seconds of training since the start.
        """
        completed = iteration - self._first
        return trained / completed if completed else None

    def interim(
        self,
        iteration: int,
        images_seen: int,
        losses: Mapping[str, float],
        *,
        index: int,
        trained: float,
        scored: float,
    ) -> Interim:
        """Returns the progress of the training, with images per second since the last call and the seconds left.

        Args:
            iteration: number of completed generator iterations.
            images_seen: number of real images shown to the critic so far.
            losses: means since the last report.
            index: index of the next report.
            trained: seconds of training since the start.
            scored: seconds of scoring since the start.
        """
        completed = max(iteration - self._first, 1)
        left = (self._iterations - iteration) * trained / completed
        reports_before = math.ceil(self._first * self._reports / self._iterations)
        if index > reports_before:
            left += (self._reports - index) * scored / (index - reports_before)
        images_per_second = (images_seen - self._images) / max(trained - self._measured, 1e-9)
        self._images = images_seen
        self._measured = trained
        self._told = time.monotonic()
        return Interim(iteration, self._iterations, dict(losses), images_per_second, left)
