"""Where trials start from: the leader of another sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError, ConfigError
from gansweep.search.retraining import ranked_leaders
from gansweep.store.store import Store
from gansweep.training.build import build_gan
from gansweep.training.start import Start

if TYPE_CHECKING:
    from gansweep.contracts import Trainables

__all__ = ["start_of"]


def start_of(uri: str, frozen: int, cohort: Cohort, trainables: Trainables) -> Start:
    """The weights of the leader of the sweep at `uri`, to start trials on `cohort` from.

    Args:
        uri: of the other sweep's store.
        frozen: blocks of the critic that keep their weights.
        cohort: of the new sweep.
        trainables: what the leader's configuration names.

    Raises:
        StoreError: no store, no completed trial, or no checkpoint of it.
        ConfigError: the leader's images have another size or number of channels, its weights do not fit networks for
            this cohort, or its critic has too few blocks.
    """
    store = Store.open(uri)
    (leader,), ranked = ranked_leaders(store, 1, "start from")
    completed = ranked.loc[(ranked["configuration"] == leader) & (ranked["status"] == "completed"), "trial_id"]
    if leader not in set(completed):
        leader = str(completed.iloc[0])  # the search stopped the leader itself; a repeat of it was trained to its end
    config = store.config(leader)
    state = store.checkpoint(leader).read_for(config)
    start = Start(f"trial {leader} of {store.info.name}", config, state["networks"], frozen)
    _check_images(store, start, cohort)
    # Tried here, before a cluster is started.
    start.into(build_gan(config, cohort.spec(config.data), trainables))
    return start


def _check_images(store: Store, start: Start, cohort: Cohort) -> None:
    """By the other sweep's cohort, where it is still there; else the shapes of the weights have to tell."""
    try:
        there = Cohort.open(store.info.cohort.path).spec(start.config.data)
    except CohortError:
        return
    here = cohort.spec(start.config.data)
    for what, other, own in (
        ("pixels", there.size, here.size),
        ("channels", there.channels, here.channels),
        ("classes", len(there.classes), len(here.classes)),
    ):
        if other != own:
            raise ConfigError(
                f"{start.origin} was trained on images with {other} {what}, and this cohort has {own}",
                where="--start-from",
                fix="ingest with the same --size and windows, or start from another",
            )
