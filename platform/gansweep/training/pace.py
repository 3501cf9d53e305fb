"""The pace of a training: its progress between two reports, and when to report it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gansweep.progress import Interim

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TELL_SECONDS", "Pace"]

TELL_SECONDS = 30.0
"""Between two lines about a training. A check for divergence must be due, too: nothing waits for the device here."""


class Pace:
    """Measures a training from where it began or was resumed.

    Args:
        iterations: the budget.
        reports: reports in all.
        iteration, images_seen: where it begins.
    """

    def __init__(self, iterations: int, reports: int, iteration: int, images_seen: int) -> None:
        self._iterations = iterations
        self._reports = reports
        self._first = iteration
        self._images = images_seen
        self._measured = 0.0  # seconds of training when the images were last counted
        self._told = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for an interim."""
        return time.monotonic() - self._told >= TELL_SECONDS

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
        """Returns the progress of the training.

        Args:
            iteration: number of completed generator iterations.
            images_seen: real images shown to the critic so far.
            losses: means since the last report.
            index: index of the next report.
            trained: seconds of training since this object was made.
            scored: seconds of scoring since then.
        """
        made = max(iteration - self._first, 1)
        left = (self._iterations - iteration) * trained / made
        begun = -(-self._first * self._reports // self._iterations)  # reports that this run did not make
        if index > begun:
            left += (self._reports - index) * scored / (index - begun)
        images = (images_seen - self._images) / max(trained - self._measured, 1e-9)
        self._images = images_seen
        self._measured = trained
        self._told = time.monotonic()
        return Interim(iteration, self._iterations, dict(losses), images, left)
