"""A bound on a score, a cost or a signal of trials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from gansweep.config import Frozen
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Constraint"]


class Constraint(Frozen):
    """A bound on a score, a cost or a signal.

    In `Experiment.constraints`, samplers prefer trials within it, whatever their objectives. In `Experiment.prune`, a
    trial beyond it stops.

    Args:
        score: a score of a trial's reports, or what the trial costs: `seconds_per_iteration` of its training, or
            `peak_memory_gib` on a GPU. In `prune`, one of `gansweep.progress.SIGNALS`.
        at_most: largest value within the bound.
        at_least: smallest value within the bound. Exactly one of the two is given.
    """

    score: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least")
        return self

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Returns the constraint of a text such as `peak_memory_gib<=20` or `accuracy>=0.8`.

        Args:
            text: the text.

        Raises:
            ConfigError: it is no such text.
        """
        return cls._parsed(text, where="--constraint", example="peak_memory_gib<=20 or accuracy>=0.8")

    @classmethod
    def parse_signal(cls, text: str) -> Constraint:
        """Returns the bound on a signal of a text such as `class_spread>=0.1`.

        Args:
            text: the text.

        Raises:
            ConfigError: it is no such text.
        """
        return cls._parsed(text, where="--prune", example="class_spread>=0.1 or gradient_drift<=100")

    @classmethod
    def _parsed(cls, text: str, *, where: str, example: str) -> Constraint:
        for sign, bound in (("<=", "at_most"), (">=", "at_least")):
            score, found, number = text.partition(sign)
            if not found:
                continue
            try:
                value = float(number)
            except ValueError:
                break
            if score.strip() and math.isfinite(value):
                return cls.model_validate({"score": score.strip(), bound: value})
            break
        raise ConfigError(f"{text!r} is not NAME<=NUMBER or NAME>=NUMBER", where=where, fix=f"for example {example}")

    def __str__(self) -> str:
        return f"{self.score}<={self.at_most:g}" if self.at_most is not None else f"{self.score}>={self.at_least:g}"

    def described(self, values: Mapping[str, float]) -> str:
        """Returns how values break the bound: `fid = 30 > 20`, or `fid is unknown`."""
        value = values.get(self.score, math.nan)
        if not math.isfinite(value):
            return f"{self.score} is unknown"
        if self.at_most is not None:
            return f"{self.score} = {value:.6g} > {self.at_most:g}"
        return f"{self.score} = {value:.6g} < {self.at_least:g}"

    def excess(self, values: Mapping[str, float]) -> float:
        """Returns how far a trial is beyond the bound, relative to the bound; 0 or less within it.

        If the bound is 0, the excess is absolute. A trial without the score has an excess of 1, because it is unknown
        whether it keeps the bound.
        """
        value = values.get(self.score, math.nan)
        if not math.isfinite(value):
            return 1.0
        bound = self.at_most if self.at_most is not None else self.at_least
        assert bound is not None
        beyond = value - bound if self.at_most is not None else bound - value
        return beyond / (abs(bound) or 1.0)
