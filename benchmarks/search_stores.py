"""Small searches on phantoms with every trial run to its end: the stores that `gansweep replay` is tried on.

Three searches, each on phantoms of its own: WGAN-GP, a choice of losses, and a lesion painter. Configurations are drawn
at random and none is stopped, so that any sampler and any early stopping can be tried on them afterwards. Trials run
one after another in this process, without Ray: the proposals, the training, the scores and the rows are a sweep's.

    python benchmarks/search_stores.py STORAGE [--trials 48] [--minutes 12] [--only wgan_gp]
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.errors import Diverged
from gansweep.experiment import DataView, Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from gansweep.options import SweepOptions
from gansweep.progress import Interim, Progress, Report
from gansweep.scoring.trial import TrialScorer
from gansweep.search.cluster import Footprint
from gansweep.search.prechecks import config_checker
from gansweep.search.samplers import make_sampler
from gansweep.search.searcher import StudySearcher, count_ended, count_proposed
from gansweep.search.trial import TrialResult
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import ReportRow
from gansweep.store.store import Store
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

PIXELS = 16
REPORTS = 9  # rungs of one, three and nine reports
ITERATIONS = 90
# Detectors of real images alone were at chance with 40 or 150 updates (39 to 61 %) and above it with 400 (67 to 74 %).
_SCORING = ScoringSettings(samples=64, encoder_steps=100, detector_steps=400, detector_seeds=1, segmenter_steps=0)


def wgan_gp(trial: optuna.Trial) -> TrialConfig:
    """The main parameters of WGAN-GP."""
    choices: dict[str, Any] = {
        **_rates(trial),
        "n_critic": trial.suggest_int("n_critic", 1, 2),
        "penalty.lambda": trial.suggest_float("lambda", 0.5, 50.0, log=True),
        "architecture.width": trial.suggest_categorical("width", [4, 8]),
        "conditioning": trial.suggest_categorical("conditioning", ["concat", "projection"]),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0, 2.0]),
    }
    return _dcgan().derive(choices)


def losses(trial: optuna.Trial) -> TrialConfig:
    """A loss with the penalty that belongs to it."""
    loss = trial.suggest_categorical("loss", ["wasserstein", "hinge", "relativistic"])
    penalty = {"wasserstein": "gradient_penalty", "hinge": "r1", "relativistic": "r1_r2"}[loss]
    choices: dict[str, Any] = {
        **_rates(trial),
        "loss.kind": loss,
        "penalty.kind": penalty,
        "penalty.lambda": trial.suggest_float("lambda", 0.1, 20.0, log=True),
        "beta1": trial.suggest_categorical("beta1", [0.0, 0.5]),
        "architecture.width": trial.suggest_categorical("width", [4, 8]),
        "architecture.generator_norm": trial.suggest_categorical("generator_norm", ["batch", "group"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0, 2.0]),
    }
    return _dcgan().derive(choices)


def painter(trial: optuna.Trial) -> TrialConfig:
    """Lesions painted into scans of controls."""
    choices: dict[str, Any] = {
        **_rates(trial),
        "penalty.lambda": trial.suggest_float("lambda", 0.05, 20.0, log=True),
        "architecture.width": trial.suggest_categorical("width", [4, 8]),
        "architecture.margin": trial.suggest_float("margin", 1 / 64, 1 / 8, log=True),
        "architecture.local_weight": trial.suggest_float("local_weight", 0.1, 10.0, log=True),
        "architecture.neighbourhood": trial.suggest_categorical("neighbourhood", [0.25, 0.5, 0.75]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0, 2.0]),
    }
    base = TrialConfig(
        family="lesion_painter",
        conditioning="none",
        n_critic=1,
        batch_size=16,
        iterations=ITERATIONS,
        data=DataView(size=PIXELS),
        ema_half_life=0.1,
        attention="none",
    )
    fixed = {
        "loss.kind": "relativistic",
        "penalty.kind": "r1_r2",
        "architecture.depth": 2,
        "architecture.generator_norm": "group",
        "architecture.critic_width": 8,
    }
    return base.derive({**fixed, **choices})


SPACES = {"wgan_gp": wgan_gp, "losses": losses, "painter": painter}


def experiment(name: str) -> Experiment:
    """The search of that name, at random and without early stopping."""
    return Experiment(
        name=name,
        space=SPACES[name],
        trainables=TRAINABLES,
        sampler="random",
        reports=REPORTS,
        scheduler=SchedulerSettings(kind="none"),
        scoring=_SCORING,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="of each search; a trial under way comes to its end"
    )
    parser.add_argument("--only", choices=SPACES, help="one of the searches; default: all")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for seed, name in enumerate(SPACES):
        if arguments.only in (None, name):
            options = SweepOptions(
                cohort=phantoms(arguments.storage / "cohorts" / name, seed),
                storage=str(arguments.storage),
                name=name,
                trials=arguments.trials,
                seed=seed,
            )
            search(experiment(name), options, arguments.minutes)


def search(searched: Experiment, options: SweepOptions, minutes: float) -> Store:
    """Trains the trials of a search one after another, and goes on with a search that is there."""
    cohort = Cohort.open(options.cohort)
    info = describe_sweep(searched, cohort, options, space=searched.name)
    store = Store.create(options.storage, options.name, info, exist_ok=True)
    study = store.create_study()
    study.sampler = make_sampler(searched.sampler, options.seed, count_proposed(study), 10)
    check = config_checker(TRAINABLES, cohort, workers=1, reports=REPORTS)
    searcher = StudySearcher(searched, study, store, check)
    cpu = torch.device("cpu")
    scorer = TrialScorer(cohort, searched.scoring, TRAINABLES, Path(options.storage) / "cache", cpu)
    deadline = time.monotonic() + 60 * minutes
    for number in range(count_ended(study), options.trials):
        if time.monotonic() > deadline:
            break
        asked = searcher.suggest(str(number))
        assert isinstance(asked, dict)
        told = _train(asked, cohort, scorer, store)
        searcher.on_trial_complete(str(number), {"result": told})
    store.compact()
    return store


def _train(asked: dict[str, Any], cohort: Cohort, scorer: TrialScorer, store: Store) -> TrialResult:
    config = TrialConfig.model_validate(asked["config"])
    rows = _Rows(asked["trial_id"], scorer, store)
    begun = time.monotonic()
    reason = ""
    try:
        train(
            config,
            build_gan(config, cohort.spec(config.data), TRAINABLES),
            cohort.load("train", config.data),
            rows,
            lambda sampler, iteration: scorer.score(sampler, config, iteration),
            reports=REPORTS,
            device=torch.device("cpu"),
        )
    except Diverged as divergence:
        reason = str(divergence)
    return TrialResult(
        status="diverged" if reason else "completed",
        reason=reason,
        report=rows.last,
        best={},
        reported=rows.reported(),
        seconds=time.monotonic() - begun,
        footprint=Footprint(1, 1.0, 0.0),
    )


class _Rows:
    """A `Reporter` that keeps reports in the store and no checkpoint."""

    def __init__(self, trial: str, scorer: TrialScorer, store: Store) -> None:
        self.last: Report | None = None
        self._trial = trial
        self._scorer = scorer
        self._store = store

    def restore(self) -> None:
        """Nothing is gone on with."""

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Nothing is kept."""

    def reported(self) -> int:
        return 0 if self.last is None else self.last.progress.index + 1

    def interim(self, interim: Interim) -> None:
        """Nothing is told between two reports."""

    def report(self, progress: Progress) -> bool:
        self.last = Report(progress, self._scorer.fid_features)
        self._store.write_report(ReportRow(self._trial, 0, self.last))
        return not progress.final


def phantoms(folder: Path, seed: int) -> Path:
    """A cohort with few training patients and enough others to tell detectors apart."""
    if not (folder / "cohort" / "cohort.json").exists():
        write_phantom(folder / "scans", patients=90, slices=1, size=64, seed=seed)
        settings = IngestSettings(
            size=PIXELS, labels=folder / "scans" / "labels.csv", split=(0.3, 0.6, 0.1), window="lesion"
        )
        ingest(folder / "scans", folder / "cohort", settings)
    return folder / "cohort"


def _rates(trial: optuna.Trial) -> dict[str, float]:
    return {
        "lr_d": trial.suggest_float("lr_d", 1e-4, 1e-2, log=True),
        "lr_g": trial.suggest_float("lr_g", 1e-4, 1e-2, log=True),
    }


def _dcgan() -> TrialConfig:
    return TrialConfig(
        data=DataView(size=PIXELS),
        iterations=ITERATIONS,
        batch_size=16,
        ema_half_life=0.1,
        architecture={"width": 8, "latent": 16, "generator_norm": "group"},
    )


if __name__ == "__main__":
    main()
