"""Detects hung workers by their silence.

A worker whose process was stopped, or whose collective operation never returns, neither ends nor raises. It also gives
no sign of life: it fetches no trial, and sends no checkpoint and no report.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Silence", "SilenceLimit"]

_UNTIL_FIRST_REPORT = 6
"""Factor of the minimum limit before the first report, when encoder, features and baseline are computed."""
_CHECKPOINTS_MISSED = 2
"""Number of missed checkpoints that is never a hang."""


@dataclass(frozen=True)
class SilenceLimit:
    """Limits of the silence of a worker group.

    Args:
        least_s: minimum of the limit in seconds; 0: any silence is allowed.
        checkpoint_s: interval in seconds between checkpoints; 0: there are checkpoints only at reports. Any silence is
            then allowed until the first report, because the duration of a report is not known.
        factor: the limit is at least this factor times the longest silence so far.
    """

    least_s: float = 0.0
    checkpoint_s: float = 0.0
    factor: float = 20.0


class Silence:
    """Measures the silence of one worker group.

    Args:
        limit: limits of the silence.
        clock: returns the time in seconds.
    """

    def __init__(self, limit: SilenceLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._longest = 0.0
        self._reported = False
        self._since: float | None = None

    def begin(self) -> None:
        """Starts measuring, when the workers get a task."""
        self._since = self._clock()

    def sign(self) -> None:
        """Records a sign of life."""
        if self._since is not None:
            self._longest = max(self._longest, self.seconds())
            self.begin()

    def end(self, *, report: bool = False) -> None:
        """Stops measuring, when the workers have finished their task.

        Args:
            report: whether the task was a report.
        """
        self.sign()
        self.stop()
        self._reported = self._reported or report

    def stop(self) -> None:
        """Stops measuring, when nobody waits for the workers."""
        self._since = None

    def seconds(self) -> float:
        """Returns the seconds since the last sign of life; 0 if nobody waits for the workers."""
        return 0.0 if self._since is None else self._clock() - self._since

    def allowed(self) -> float:
        """Returns the seconds after which a silence counts as a hang."""
        limit = self._limit
        is_unlimited = limit.least_s == 0
        is_unknown = not self._reported and limit.checkpoint_s == 0
        if is_unlimited or is_unknown:
            return math.inf
        least = limit.least_s * (1 if self._reported else _UNTIL_FIRST_REPORT)
        return max(least, _CHECKPOINTS_MISSED * limit.checkpoint_s, limit.factor * self._longest)

    def is_hang(self) -> bool:
        """Returns whether the workers have been silent for longer than is allowed."""
        return self.seconds() > self.allowed()
