"""Progress of a training: the values that it reports, and the protocol of their receiver."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SIGNALS", "Interim", "Progress", "Report", "Reporter"]

SIGNALS: dict[str, str] = {
    "class_spread": "how much the samples of a class vary, as a fraction of how much its real images do, in the class "
    "where they vary least: 0 if all are the same image, about 1 if they vary as real ones",
    "imbalance": "by what factor the ratio of the critic's gradient norm to the generator's has changed since the "
    "first report, in either direction: 1 if it has not",
    "gradient_drift": "by what factor the gradient norm has changed since the first report, in either direction, in "
    "the phase where it changed most: 1 if it has not",
}
"""What a report says about the health of the training, by name. `Experiment.prune` has bounds on them."""


@dataclass(frozen=True)
class Progress:
    """Training progress in one report of a trial.

    Args:
        index: 0 for the first report.
        final: whether the budget is used up.
        iteration: number of completed generator iterations.
        images_seen: number of real images shown to the critic so far, over all workers.
        losses: means since the last report.
        scores: objectives and other scores. Every report has all objectives.
        seconds_training: time spent training since the trial began or resumed.
        seconds_scoring: time spent scoring since then.
        execution: how the last steps ran: `captured` as CUDA graphs, or `eager`.
        execution_reason: why they ran eagerly, or "".
        images_on: where the training images were: `device` or `host`.
        seconds_per_iteration: mean time of a generator iteration, without scoring, since the trial began or resumed;
            None if it has not trained since.
        peak_memory_gib: most memory that torch had allocated on a GPU since then, in GiB: training and scoring, of the
            worker that needed most. None on a CPU.
        energy_joules: energy that the GPUs of all workers have used since then. None where it is not known.
        signals: the `SIGNALS` that are known. A family without a critic has no imbalance.
    """

    index: int
    final: bool
    iteration: int
    images_seen: int
    losses: Mapping[str, float]
    scores: Mapping[str, float]
    seconds_training: float
    seconds_scoring: float
    execution: str = ""
    execution_reason: str = ""
    images_on: str = ""
    seconds_per_iteration: float | None = None
    peak_memory_gib: float | None = None
    energy_joules: float | None = None
    signals: Mapping[str, float] = field(default_factory=dict)

    def with_costs_of(self, earlier: Iterable[Mapping[str, Any]]) -> Progress:
        """Returns this progress with the costs that earlier starts of the trial measured, where its own are unknown.

        A trial that resumes after its last iteration only scores, so it cannot tell what an iteration costs.

        Args:
            earlier: reports of the trial as columns by name, in order.
        """
        pace = self.seconds_per_iteration
        peak = self.peak_memory_gib
        for report in earlier:
            if self.seconds_per_iteration is None:
                pace = _known(report.get("seconds_per_iteration"), pace)
            before = _known(report.get("peak_memory_gib"), None)
            if before is not None:
                peak = max(before, peak or 0.0)
        return replace(self, seconds_per_iteration=pace, peak_memory_gib=peak)


def _known(value: Any, otherwise: float | None) -> float | None:
    """Returns a column's value, or `otherwise` if it is null."""
    return float(value) if value is not None and math.isfinite(value) else otherwise


@dataclass(frozen=True)
class Interim:
    """Progress of a trial between two reports.

    Args:
        iteration: number of completed generator iterations.
        iterations: the trial's budget.
        losses: means since the last report.
        images_per_second: real images shown to the critic per second, over all workers, since the last interim.
        seconds_left: estimated time until the trial has used its budget. It includes scoring once there was a report.
    """

    iteration: int
    iterations: int
    losses: Mapping[str, float]
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Report:
    """One report of a trial, as passed from the training loop to the leaderboard.

    Args:
        progress: progress sent by the loop.
        fid_features: name and hash of the feature extractor of `fid` and `kid`; empty if nothing was scored.
    """

    progress: Progress
    fid_features: str = ""

    def undefined(self, objectives: Iterable[str]) -> list[str]:
        """Returns the objectives without a finite value."""
        scores = self.progress.scores
        return [name for name in objectives if not math.isfinite(scores.get(name, math.nan))]


@runtime_checkable
class Reporter(Protocol):
    """Receives the training loop's progress and stores its state. Ray, tests and production have one each."""

    def restore(self) -> dict[str, Any] | None:
        """Returns the state of the last checkpoint (tensors on the CPU), or None. Called on every worker."""

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Stores `state` atomically. Only the first worker calls it; on a GPU, from a separate thread.

        If the reporter has the attribute `every_worker = True`, every worker calls it.
        """

    def reported(self) -> int:
        """Returns the number of reports received from this trial, so that a resumed trial repeats none."""

    def interim(self, interim: Interim) -> None:
        """Receives progress between two reports. Only the first worker calls it, and it must not wait for others."""

    def report(self, progress: Progress) -> bool:
        """Receives progress and returns whether to continue. Every worker calls it and gets the same answer."""
