"""Measures what fraction of a trial's time its scores take, and which parts take it.

A trial of the space `fahr_ct` (its first: the paper's learning rates) is trained for a few iterations on a phantom
cohort and reports once. This is done twice: the first report also computes what is cached between trials (encoder,
features, real-only detectors) and is not counted. The fraction at any budget follows from the CPU time of an iteration
and of a report.

    python benchmarks/panel_share.py [--size 64] [--iterations 3] [--budgets 400 2000 10000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.scoring.trial import TrialScorer
from gansweep.search.spaces import load_space
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
PARTS = {"_draw": "drawing samples", "_realism": "features and distances", "_downstream": "detectors"}


class Timed(TrialScorer):
    """Records the CPU time of its parts."""

    spent: dict[str, float]

    def score(self, *arguments: Any, **options: Any) -> dict[str, float]:  # noqa: D102
        self.spent = dict.fromkeys([*PARTS.values(), "all"], 0.0)
        found: dict[str, float] = self._timed("all", super().score, *arguments, **options)
        return found

    def _draw(self, *arguments: Any) -> Any:
        return self._timed(PARTS["_draw"], super()._draw, *arguments)

    def _realism(self, *arguments: Any) -> Any:
        return self._timed(PARTS["_realism"], super()._realism, *arguments)

    def _downstream(self, *arguments: Any) -> Any:
        return self._timed(PARTS["_downstream"], super()._downstream, *arguments)

    def _timed(self, part: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        found = call(*arguments, **options)
        self.spent[part] += time.process_time() - start
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--budgets", type=int, nargs="+", default=[400, 2000, 10_000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_space("fahr_ct")
    config = experiment.config(optuna.trial.FixedTrial(experiment.first_trials[0])).derive(
        {"iterations": options.iterations}
    )
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(Path(folder) / "scans", patients=options.patients, slices=4, seed=0)
        ingest(Path(folder) / "scans", Path(folder) / "cohort", IngestSettings(size=options.size))
        cohort = Cohort.open(Path(folder) / "cohort")
        scorer = Timed(cohort, experiment.scoring, experiment.trainables, Path(folder) / "cache", CPU)
        start = time.process_time()
        scorer.reference(config.data)
        once = time.process_time() - start
        gan = build_gan(config, cohort.spec(), experiment.trainables)
        start = time.process_time()
        train(
            config,
            gan,
            cohort.load("train"),
            MemoryReporter(),
            lambda sampler, iteration: scorer.score(sampler, config, iteration),
            reports=1,
            device=CPU,
        )
        iteration = (time.process_time() - start - scorer.spent["all"]) / options.iterations
    report = scorer.spent["all"]
    print(f"one iteration {iteration:.2f} s, one report {report:.1f} s of CPU time; once per cohort {once:.0f} s")
    for part in PARTS.values():
        print(f"  {part:<24} {scorer.spent[part]:>7.2f} s")
    reports = experiment.reports
    shares = {budget: reports * report / (reports * report + budget * iteration) for budget in options.budgets}
    for budget, share in shares.items():
        print(f"{budget:>7} iterations, {reports} reports: {100 * share:.1f} % of the trial's time is scoring")
    print(
        json.dumps(
            {
                "benchmark": "panel_share",
                **vars(options),
                "iteration_s": iteration,
                "report": scorer.spent,
                "once_s": once,
                "shares": shares,
            }
        )
    )


if __name__ == "__main__":
    main()
