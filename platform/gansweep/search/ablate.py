"""`ablate`: measures what each choice of a leader is worth, by taking it back alone.

A search finds a configuration that is good as a whole. Parameter importances do not show which of its choices made it
good, because they describe the space. An ablation retrains the leader without each choice, with the same new seeds, and
reports the difference and its spread.
"""

from __future__ import annotations

import io
import json
import logging
import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from gansweep.cache import key
from gansweep.errors import ConfigError
from gansweep.options import AblateOptions
from gansweep.scoring.metrics.formatting import score_text
from gansweep.scoring.statistics.paired_seeds import Worth, corrected, worth
from gansweep.search.choices import Choice, choices_between
from gansweep.search.cluster import ray_cluster
from gansweep.search.prechecks import config_checker
from gansweep.search.relay import relayed
from gansweep.search.retraining import REPORTS, ranked_leaders, retraining_footprint, retraining_group, same_cohort
from gansweep.search.room import room_for
from gansweep.search.side_by_side import train_side_by_side
from gansweep.search.start import kept_start
from gansweep.store.interims import interims_logged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.search.worker_group import WorkerGroup
    from gansweep.store.store import Store

__all__ = ["ALL", "RESULT", "TABLE", "ablate", "ablation"]

RESULT = "ablation.json"
TABLE = "ablation.parquet"
ALL = "all of them"
"""The name of the variant in which every choice is taken back: the other configuration itself."""

_Measure = Literal["fid", "accuracy", "auroc"]
_MEASURES: tuple[_Measure, ...] = get_args(_Measure)

log = logging.getLogger(__name__)


class _Choice(BaseModel):
    """Keys of a choice in `ablation.json` that others read."""

    model_config = ConfigDict(extra="allow")

    choice: str
    ours: Any
    theirs: Any
    worth: dict[_Measure, Worth]


class _Result(BaseModel):
    """Keys of `ablation.json` that others read."""

    model_config = ConfigDict(extra="allow")

    choices: list[_Choice]


@dataclass(frozen=True)
class _Training:
    """Status and scores of a training that has completed or diverged."""

    status: str
    scores: Mapping[str, float]


def ablate(
    store: Store, trainables: Trainables, options: AblateOptions | None = None, *, cache: Path | None = None
) -> dict[str, Any]:
    """Retrains a leader with each of its choices taken back, and measures what each was worth.

    The store keeps each training under its configuration. A further call therefore continues an interrupted one. With
    more repeats, or against another trial, it makes only the missing trainings.

    Args:
        store: store of a sweep with completed trials.
        trainables: registry of the names in its configurations.
        options: both trials, the number of new seeds, and the resources.
        cache: folder for features and baselines; None: the user's cache.

    Returns:
        The content of `ablation.json`: for each choice and measure, the mean of the leader minus that of the variant,
        paired over seeds, with a 95 % interval and a p-value corrected for the number of choices. `ablation.parquet`
        has the same with one row per choice and measure. `failed` lists failed trainings, which a further call repeats.

    Raises:
        StoreError: no trial has completed, or another process is working on the sweep (see `Store.exclusive`).
        CohortError: the cohort is not the sweep's.
        ConfigError: a trial or choice is unknown, the two trials do not differ, or a configuration cannot be trained
            with these trainables or this number of workers.
        ClusterError: a training does not fit on the cluster.
        KeyboardInterrupt: the user pressed Ctrl-C. A further call resumes running trainings from their checkpoints.
    """
    options = options or AblateOptions()
    footprint = retraining_footprint(store, options)
    scans = same_cohort(store, options.cohort)
    check = _checker(store, trainables, scans, footprint.workers)
    with store.exclusive():
        leader, against = _compared(store, options)
        choices = _choices(store, leader, against, options, check)
        variants = {"": store.config(leader)}
        variants |= {choice.name: choice.config for choice in choices if choice.config is not None}
        check(variants[""])
        other = store.config(against)
        if not options.choices and _passes(check, other):
            variants[ALL] = other
        seeds = range(options.seed, options.seed + options.repeats)
        wanted: list[TrialConfig] = []
        for seed in seeds:
            wanted += [config.derive({"seed": seed}) for config in variants.values()]
        missing = [config for config in wanted if _ended(store, config) is None]
        failed: list[str] = []

        def train(group: WorkerGroup, config: TrialConfig) -> None:
            _train(store, failed, group, config)

        if missing:
            log.info("%d of %d trainings to make", len(missing), len(wanted))
            with ray_cluster(), room_for(len(missing), footprint, options.wait_for_nodes) as room:
                start = partial(retraining_group, store, trainables, scans, footprint, cache, options=options)
                with interims_logged(store, log), relayed() as relay:
                    train_side_by_side(missing, room, partial(start, relay=relay), train)
        trained: dict[str, list[_Training | None]] = {}
        for name, config in variants.items():
            trained[name] = [_ended(store, config.derive({"seed": seed})) for seed in seeds]
        result = {
            "trial": leader,
            "against": against,
            "seeds": list(seeds),
            "failed": failed,
            "choices": _rows(choices, trained),
        }
        _keep(store, result)
    return result


def ablation(store: Store) -> dict[str, Any] | None:
    """Returns the result of the last `gansweep ablate`, or None if there is none. Logs a warning if it is damaged."""
    if not store.exists(RESULT):
        return None
    try:
        return _Result.model_validate(json.loads(store.read_bytes(RESULT))).model_dump()
    except (ValueError, RecursionError):
        log.warning("%s/%s is damaged and left out", store.label, RESULT)
        return None


def _checker(store: Store, trainables: Trainables, cohort: Cohort, workers: int) -> Callable[[TrialConfig], None]:
    """Returns a check of configurations. If trials start from given weights, it also checks that these fit."""
    check = config_checker(trainables, cohort, workers=workers, reports=REPORTS)
    start = kept_start(store)
    if start is None:
        return check

    def check_both(config: TrialConfig) -> None:
        from gansweep.training.build import build_gan

        check(config)
        start.into(build_gan(config, cohort.spec(config.data), trainables))

    return check_both


def _passes(check: Callable[[TrialConfig], None], config: TrialConfig) -> bool:
    try:
        check(config)
    except ConfigError as refusal:
        log.info("all choices together cannot be taken back: %s", refusal)
        return False
    return True


def _compared(store: Store, options: AblateOptions) -> tuple[str, str]:
    """Returns the ids of the leader and of the trial that it is compared with."""
    (first,), _ = ranked_leaders(store, 1, "ablate")
    searched = store.latest_trials()
    searched = searched[searched["repeat_of"].fillna("") == ""]
    known = [str(name) for name in searched["trial_id"]]
    for named, option in ((options.trial, "--trial"), (options.against, "--against")):
        if named is not None and named not in known:
            raise ConfigError(f"no trial {named!r} was searched", where=option, fix="see gansweep leaderboard")
    return options.trial or first, options.against or min(known)


def _choices(
    store: Store, leader: str, against: str, options: AblateOptions, check: Callable[[TrialConfig], None]
) -> list[Choice]:
    found = choices_between(store.config(leader), store.config(against), check)
    if not found:
        raise ConfigError(
            f"trial {leader} has the configuration of trial {against}: there is nothing to take back",
            fix="name another with --against, or another leader with --trial",
        )
    known = [choice.name for choice in found]
    for name in options.choices or ():
        if name not in known:
            where = "--choices"
            raise ConfigError(f"{name!r} does not differ", where=where, fix=f"these do: {', '.join(known)}")
    return [choice for choice in found if not options.choices or choice.name in options.choices]


def _train(store: Store, failed: list[str], group: WorkerGroup, config: TrialConfig) -> None:
    """Trains a configuration and stores its result. If it fails, appends the reason to `failed`."""
    name = _name(config)
    log.info("training %s with seed %d", name, config.seed)
    group.assign(name, config.as_dict())
    outcome = group.outcome(0)
    if outcome.report is None and outcome.ending != "diverged":
        log.info("%s: %s: %s", name, outcome.ending, outcome.reason)
        failed.append(f"{name}: {outcome.reason}")
        return
    scores = dict(outcome.report.progress.scores) if outcome.report else {}
    status = "completed" if outcome.report else "diverged"
    ended = {"config": config.as_dict(), "status": status, "reason": outcome.reason, "scores": scores}
    store.write_bytes(_place(config), json.dumps(ended).encode())
    store.checkpoint(name).delete()  # only its scores are needed
    shown = [f"{measure} {score_text(measure, scores[measure])}" for measure in _MEASURES if measure in scores]
    log.info("%s %s: %s", name, status, ", ".join(shown))


def _ended(store: Store, config: TrialConfig) -> _Training | None:
    if not store.exists(_place(config)):
        return None
    try:
        ended = json.loads(store.read_bytes(_place(config)))
        if ended["config"] != config.as_dict():
            return None
        return _Training(ended["status"], ended["scores"])
    except (ValueError, KeyError, TypeError):
        return None  # the file is damaged, so the configuration is trained again


def _name(config: TrialConfig) -> str:
    return f"ablate-{key(**config.as_dict())}"


def _place(config: TrialConfig) -> str:
    return f"ablation/{_name(config)}.json"


def _rows(choices: Sequence[Choice], trained: Mapping[str, Sequence[_Training | None]]) -> list[dict[str, Any]]:
    """Returns the result of each choice, and of all choices together last."""
    whole = [Choice(ALL, "", "", None)] if ALL in trained else []
    worths = {measure: _worths(measure, trained) for measure in _measures(trained)}
    rows = []
    for choice in [*choices, *whole]:
        trainings = trained.get(choice.name, ())
        diverged = sum(training is not None and training.status == "diverged" for training in trainings)
        worth_of_choice = {}
        for measure, by_name in worths.items():
            if choice.name in by_name:
                worth_of_choice[measure] = asdict(by_name[choice.name])
        rows.append(
            {
                "choice": choice.name,
                "ours": choice.ours,
                "theirs": choice.theirs,
                "refused": choice.refused,
                "diverged": diverged,
                "worth": worth_of_choice,
            }
        )
    return rows


def _measures(trained: Mapping[str, Sequence[_Training | None]]) -> list[str]:
    scores = next((one.scores for one in trained[""] if one is not None and one.scores), {})
    return [name for name in _MEASURES if name in scores]


def _worths(measure: str, trained: Mapping[str, Sequence[_Training | None]]) -> dict[str, Worth]:
    """Returns the mean difference of the leader from each variant, if there is one, by variant."""
    leader = _values(measure, trained[""])
    found: dict[str, Worth] = {}
    for name, trainings in trained.items():
        difference = worth(leader, _values(measure, trainings)) if name else None
        if difference is not None:
            found[name] = difference
    # All choices together are another question than the single ones, so they are not part of the correction.
    whole = {ALL: found.pop(ALL)} if ALL in found else {}
    return corrected(found) | whole


def _values(measure: str, trainings: Sequence[_Training | None]) -> list[float]:
    """Returns a score of each training; NaN if the training or the score is missing."""
    return [math.nan if training is None else training.scores.get(measure, math.nan) for training in trainings]


def _keep(store: Store, result: Mapping[str, Any]) -> None:
    import pandas as pd

    rows = []
    for row in result["choices"]:
        choice = {name: str(row[name]) for name in ("choice", "ours", "theirs", "refused")}
        choice["diverged"] = row["diverged"]
        # A choice without a difference has one row without a measure.
        for measure, difference in (row["worth"] or {"": {}}).items():
            rows.append({**choice, "measure": measure, **difference})
    columns = ["choice", "ours", "theirs", "refused", "diverged", "measure", "difference", "low", "high", "p", "pairs"]
    table = pd.DataFrame(rows, columns=columns).assign(trial=result["trial"], against=result["against"])
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    store.write_bytes(TABLE, buffer.getvalue())
    store.write_bytes(RESULT, json.dumps(result, indent=2).encode())
