"""`--start-from`: the initial weights of trials, from the leader of another sweep."""

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
    """Returns the weights of another sweep's leader, as initial weights of trials on `cohort`.

    Args:
        uri: URI of the other sweep's store.
        frozen: number of blocks of the critic whose weights are not trained.
        cohort: cohort of the new sweep.
        trainables: registry of the names in the leader's configuration.

    Raises:
        StoreError: there is no store, no completed trial, or no checkpoint.
        ConfigError: the leader's images have another size or number of channels, its weights do not fit networks for
            this cohort, or its critic has too few blocks.
    """
    store = Store.open(uri)
    (leader,), ranked = ranked_leaders(store, 1, "start from")
    completed = ranked.loc[(ranked["configuration"] == leader) & (ranked["status"] == "completed"), "trial_id"]
    if leader not in set(completed):
        # The search stopped the leader's own trial early, but a repeat of it was completed.
        leader = str(completed.iloc[0])
    config = store.config(leader)
    state = store.checkpoint(leader).read_for(config)
    start = Start(f"trial {leader} of {store.info.name}", config, state["networks"], frozen)
    _check_images(store, start, cohort)
    # Checks that the weights fit, before a cluster is started.
    start.into(build_gan(config, cohort.spec(config.data), trainables))
    return start


def _check_images(store: Store, start: Start, cohort: Cohort) -> None:
    """Checks that the images of both sweeps have the same shape and number of classes."""
    try:
        there = Cohort.open(store.info.cohort.path).spec(start.config.data)
    except CohortError:
        # Without the other cohort, the shapes of the weights reveal most differences.
        return
    here = cohort.spec(start.config.data)
    compared = (
        ("pixels", there.size, here.size),
        ("channels", there.channels, here.channels),
        ("classes", len(there.classes), len(here.classes)),
    )
    for what, other, own in compared:
        if other != own:
            raise ConfigError(
                f"{start.origin} was trained on images with {other} {what}, and this cohort has {own}",
                where="--start-from",
                fix="ingest with the same --size and windows, or start from another",
            )
