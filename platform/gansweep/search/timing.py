"""Duration of trials, from the rows of an earlier sweep of the same space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.errors import GansweepError
from gansweep.store.continuation import differences, same_space
from gansweep.store.filesystem import Files
from gansweep.store.record import is_begun
from gansweep.store.store import Store

if TYPE_CHECKING:
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["Timing", "timing_of", "timing_under"]


@dataclass(frozen=True)
class Timing:
    """Durations of a sweep's trials, including those that ended early, or of a probe.

    Args:
        store: the sweep's store; "" for a probe, which trains a few iterations on this machine and scores nothing.
        trials: number of trials that have ended; 0 for a probe.
        seconds: mean duration of a trial, over all its attempts.
        least, most: least and greatest duration of a trial.
        differences: settings that affect the duration and differ in that sweep.
    """

    store: str
    trials: int
    seconds: float
    least: float
    most: float
    differences: tuple[str, ...]


def timing_of(store: Store, wanted: SweepInfo) -> Timing | None:
    """Returns the durations of a store's trials; None if none has ended.

    Args:
        store: store of a sweep with the same space.
        wanted: the planned sweep.
    """
    seconds: dict[str, float] = {}
    for row in store.rows():
        seconds[row.trial_id] = seconds.get(row.trial_id, 0.0) + row.seconds
    ended = [seconds[row.trial_id] for row in store.ended_trials() if not row.repeat_of]
    if not ended:
        return None
    unlike = tuple(_unlike(store.info, wanted))
    return Timing(store.label, len(ended), sum(ended) / len(ended), min(ended), max(ended), unlike)


def timing_under(storage: str, wanted: SweepInfo) -> Timing | None:
    """Returns the timing of the sweep under `storage` that is most similar to the planned one.

    Args:
        storage: folder or URI.
        wanted: the planned sweep. Only sweeps of the same space are considered.
    """
    files = Files(storage)
    stores: list[Store] = []
    for name in files.folders():
        child = files.child(name)
        try:
            if is_begun(child):
                stores.append(Store.open(child.uri))
        except GansweepError:
            continue  # a damaged sweep has no timing, and is not this sweep's concern
    alike = [store for store in stores if same_space(store.info, wanted)]
    alike.sort(key=lambda store: (len(list(_unlike(store.info, wanted))), -store.info.created.timestamp()))
    for store in alike:
        try:
            if (found := timing_of(store, wanted)) is not None:
                return found
        except GansweepError:
            continue
    return None


def _unlike(info: SweepInfo, wanted: SweepInfo) -> list[str]:
    pairs = [(key, getattr(info, key), getattr(wanted, key)) for key in ("workers_per_trial", "gpus_per_worker")]
    pairs = [(key, before, now) for key, before, now in pairs if before != now]
    # Neither the seed nor the order of proposals affects the duration.
    pairs += [item for item in differences(info, wanted) if item[0] not in ("space", "seed", "sampler")]
    cohort = ["another cohort"] if info.cohort.content_hash != wanted.cohort.content_hash else []
    return cohort + [f"{key} = {before}, not {now}" for key, before, now in pairs]
