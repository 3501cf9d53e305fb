"""Evidence for an exported generator: each score with its origin, or the reason why it is missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gansweep.config import Frozen
from gansweep.scoring.memorisation.evidence import MemorisationEvidence
from gansweep.search.answer import answer
from gansweep.search.start import kept_start
from gansweep.store.provenance import code_revision, package_versions
from gansweep.store.ranking import ADDED_COLUMNS
from gansweep.store.schema import TRIAL_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import Objective, TrialConfig
    from gansweep.store.store import Store

__all__ = ["Budget", "CohortFacts", "Evidence", "Selection", "cohort_facts", "scores_of", "search_evidence", "tried"]

_NO_SCORES = {*TRIAL_COLUMNS, *ADDED_COLUMNS}
_NO_INTERVALS = (
    "a search keeps point estimates on validation patients; `gansweep confirm` retrains with fresh seeds and gives "
    "intervals on the test patients"
)


class CohortFacts(Frozen):
    """Cohort that a generator was trained on.

    Args:
        content_hash: hash that identifies the cohort.
        classes: class names in label order.
        positive_class: class with the disease.
        modality, window, size: see `CohortInfo`.
        patients, images: numbers by split.
        patients_known: false if some images, volumes or studies count as separate patients.
        split_seed: seed of the patient split.
        warnings: warnings of the ingest.
    """

    content_hash: str
    classes: tuple[str, ...]
    positive_class: str
    modality: str
    window: str
    size: int
    patients: dict[str, int]
    images: dict[str, int]
    patients_known: bool
    split_seed: int
    warnings: tuple[str, ...] = ()


class Budget(Frozen):
    """The cost of a training, over all its attempts."""

    iterations: int
    images_seen: int
    seconds: float
    gpu_seconds: float
    workers: int


class Selection(Frozen):
    """How a trial of a search was selected.

    Args:
        sweep: name of the sweep.
        trials: number of trials; the best of many looks better than it is.
        rank: rank of the trial's configuration in the leaderboard, 1 for the best.
        chosen: whether the ranking or the user chose it.
        status: how the trial ended.
        objectives: `name direction` of each, in order.
        infeasible: the constraints of the search that it breaks; empty if none.
    """

    sweep: str
    trials: int
    rank: int
    chosen: Literal["by rank", "by name"]
    status: str
    objectives: tuple[str, ...]
    infeasible: str = ""


class Evidence(Frozen):
    """The contents of `evidence.json`.

    Args:
        answer: what the sweep says about the use of synthetic images, in one sentence.
        answer_trial: the trial that the answer is about; empty if it is about none.
        answer_applies: whether that trial has the configuration of this generator.
        evaluated_on: the patients that the scores are computed on.
        scores: by name; scores that are not finite are left out.
        intervals: (low, high) by score, if there are any.
        intervals_note: why a score has no interval.
        fid_features: name and hash of the feature extractor for `fid` and `kid`.
        n: sample sizes of the scores.
        seeds: seeds of training, split and search.
        test_patients: whether the test patients were ever used.
        selection: how the search selected it; None after production training.
        trial_id: the trial; empty after production training.
        started_from: the training whose weights the trial began with (`--start-from`); empty for random weights.
        budget: the cost of the training.
        cohort: the cohort that it was trained on.
        code_revision, versions: code and packages that computed it.
        memorisation: whether it copies training patients.
    """

    answer: str = ""
    answer_trial: str = ""
    answer_applies: bool = True
    evaluated_on: str
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    intervals_note: str
    fid_features: str
    n: dict[str, int]
    seeds: dict[str, int]
    test_patients: str
    selection: Selection | None
    trial_id: str
    started_from: str = ""
    budget: Budget
    cohort: CohortFacts
    code_revision: str
    versions: dict[str, str]
    memorisation: MemorisationEvidence = Field(default_factory=MemorisationEvidence)

    def to_json(self) -> str:
        """The text of `evidence.json`."""
        return self.model_dump_json(indent=2) + "\n"


def cohort_facts(cohort: Cohort) -> CohortFacts:
    """Returns the facts about a cohort that an export may contain: no patients and no paths.

    Args:
        cohort: the cohort.
    """
    info = cohort.info
    return CohortFacts(
        content_hash=cohort.content_hash,
        classes=info.classes,
        positive_class=info.positive_class,
        modality=info.modality,
        window=info.window,
        size=info.size,
        patients=info.patients,
        images=info.images,
        patients_known=info.patients_known,
        split_seed=info.seed,
        warnings=info.warnings,
    )


def search_evidence(
    store: Store, row: pd.Series, config: TrialConfig, cohort: Cohort, rank: int, chosen: Literal["by rank", "by name"]
) -> Evidence:
    """Collects the evidence for one trial of a search.

    Args:
        store: the sweep's store.
        row: the trial's last attempt.
        config: the trial's configuration.
        cohort: the trial's cohort.
        rank: rank of its configuration in the leaderboard, from 1.
        chosen: whether the trial was selected by the ranking or by the user.
    """
    info = store.info
    facts = cohort_facts(cohort)
    scores = scores_of(row)
    known = answer(store)
    start = kept_start(store)
    # Interrupted attempts also cost time.
    attempts = store.trials()
    spent = attempts.loc[attempts["trial_id"] == row["trial_id"], ["seconds", "gpu_seconds"]].sum()
    return Evidence(
        answer=known.text,
        answer_trial=known.trial_id,
        answer_applies=known.trial_id in ("", str(row.get("configuration", row["trial_id"]))),
        evaluated_on="validation patients, never trained on but used to choose among trials",
        # Bounds are stored as scores `x_low` and `x_high`; here they become intervals.
        scores={name: value for name, value in scores.items() if not name.endswith(("_low", "_high"))},
        intervals=intervals_of(scores),
        intervals_note=_NO_INTERVALS,
        fid_features=str(row["fid_features"] or info.fid_features),
        n=sample_sizes(facts, info.experiment.get("scoring", {})),
        seeds={**info.seeds, "trial": config.seed},
        test_patients=_test_patients(store),
        selection=Selection(
            sweep=info.name,
            trials=tried(store.latest_trials(), info.objectives),
            rank=rank,
            chosen=chosen,
            status=str(row["status"]),
            objectives=tuple(f"{objective.name} {objective.direction}" for objective in info.objectives),
            infeasible=str(row.get("infeasible", "")),
        ),
        trial_id=str(row["trial_id"]),
        started_from="" if start is None else start.told(),
        budget=Budget(
            iterations=int(row["iterations"]),
            images_seen=int(row["images_seen"]),
            seconds=float(spent["seconds"]),
            gpu_seconds=float(spent["gpu_seconds"]),
            workers=int(row["workers"]),
        ),
        cohort=facts,
        code_revision=info.code_revision or code_revision(),
        versions=info.packages or package_versions(),
    )


def tried(trials: pd.DataFrame, objectives: Sequence[Objective]) -> int:
    """Returns the number of trials of a search that have scores, of which the leader is the best.

    Repeats are not counted: `gansweep repeat` tries no new configurations.

    Args:
        trials: one row per trial.
        objectives: objectives of the search.
    """
    names = [objective.name for objective in objectives if objective.name in trials]
    return int(((trials["repeat_of"].fillna("") == "") & trials[names].notna().any(axis=1)).sum())


def intervals_of(scores: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Extracts the intervals from scores: (`x_low`, `x_high`) is the interval of `x`.

    Args:
        scores: scores by name.
    """
    names = [name.removesuffix("_low") for name in scores if name.endswith("_low")]
    return {name: (scores[f"{name}_low"], scores[f"{name}_high"]) for name in names if f"{name}_high" in scores}


def sample_sizes(facts: CohortFacts, scoring: dict[str, object]) -> dict[str, int]:
    """Returns the numbers of images, patients, samples and detectors behind the scores.

    Args:
        facts: facts about the cohort.
        scoring: scoring settings by name; missing ones are omitted.
    """
    sizes = {
        "train_images": facts.images.get("train", 0),
        "train_patients": facts.patients.get("train", 0),
        "validation_images": facts.images.get("val", 0),
        "validation_patients": facts.patients.get("val", 0),
    }
    settings = {"synthetic_images_for_fid": "samples", "detectors_per_arm": "detector_seeds"}
    return sizes | {name: int(str(scoring[key])) for name, key in settings.items() if key in scoring}


def scores_of(row: pd.Series) -> dict[str, float]:
    """Returns the finite scores of a row: all columns except the fixed ones and configuration keys, which have a dot.

    Args:
        row: a trial's last attempt.
    """
    values = {str(name): value for name, value in row.items() if name not in _NO_SCORES and "." not in str(name)}
    return {name: float(value) for name, value in values.items() if _is_score(value)}


def _is_score(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _test_patients(store: Store) -> str:
    openings = store.info.test_openings
    if not openings:
        return "not looked at: no score here is about them"
    return f"looked at {len(openings)} time(s), last on {openings[-1].opened:%Y-%m-%d}, by `gansweep confirm`"
