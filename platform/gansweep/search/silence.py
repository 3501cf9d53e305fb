"""How long the workers of a worker group may say nothing before they count as hung.

A worker whose process was stopped, or whose collective never returns, neither ends nor raises. What it does not do any
more is to give signs: a trial fetched, a checkpoint kept between reports, a report handed in.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Silence", "SilenceLimit"]

_UNTIL_FIRST_REPORT = 6  # times the least limit: encoder, features and baseline are made before it
_CHECKPOINTS_MISSED = 2


@dataclass(frozen=True)
class SilenceLimit:
    """What is allowed at least.

    Args:
        least_s: seconds; 0: any silence is allowed.
        checkpoint_s: how often a checkpoint is kept between reports; 0: at reports alone. Nothing is then known of how
            long a report takes until the first has come.
        factor: times the longest silence so far that are allowed, where that is more.
    """

    least_s: float = 0.0
    checkpoint_s: float = 0.0
    factor: float = 20.0


class Silence:
    """The silence of one worker group.

    Args:
        limit: what is allowed at least.
        clock: in seconds.
    """

    def __init__(self, limit: SilenceLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._longest = 0.0
        self._reported = False
        self._since: float | None = None

    def begin(self) -> None:
        """The workers have been told what to do: from now on they are waited for."""
        self._since = self._clock()

    def sign(self) -> None:
        """A sign of life; the silence before it was no hang."""
        if self._since is not None:
            self._longest = max(self._longest, self.seconds())
            self.begin()

    def end(self, *, report: bool = False) -> None:
        """The workers have done what they were told to."""
        self.sign()
        self.stop()
        self._reported = self._reported or report

    def stop(self) -> None:
        """Nobody waits for the workers any more."""
        self._since = None

    def seconds(self) -> float:
        """Since the last sign; 0 where nobody waits for one."""
        return 0.0 if self._since is None else self._clock() - self._since

    def allowed(self) -> float:
        """The seconds after which a silence is a hang."""
        limit = self._limit
        if not limit.least_s or not (self._reported or limit.checkpoint_s):
            return math.inf
        least = limit.least_s * (1 if self._reported else _UNTIL_FIRST_REPORT)
        return max(least, _CHECKPOINTS_MISSED * limit.checkpoint_s, limit.factor * self._longest)

    def is_hang(self) -> bool:
        """Whether the workers have been silent for longer than is allowed."""
        return self.seconds() > self.allowed()
