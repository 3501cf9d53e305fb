"""`--start-from`: the initial weights of trials, from the leader of another sweep or from an exported generator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.search.retraining import ranked_leaders
from gansweep.store.store import Store
from gansweep.training.build import build_gan
from gansweep.training.record import RECORD, WEIGHTS, read_record, read_weights
from gansweep.training.start import Start

if TYPE_CHECKING:
    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec, Trainables

__all__ = ["check_fit", "start_of"]


def start_of(uri: str, frozen: int, cohort: Cohort, trainables: Trainables) -> Start:
    """Returns the weights of another training, as initial weights of trials on `cohort`.

    An export has no critic: trials then begin with the exported generator and a critic with random weights.

    Args:
        uri: URI of another sweep's store, whose leader is taken, or folder of an export or of the bundle in it.
        frozen: number of blocks of the critic whose weights are not trained.
        cohort: cohort of the new sweep.
        trainables: registry of the names in the leader's configuration.

    Raises:
        StoreError: there is no store, no completed trial, or no checkpoint.
        ExportError: a file of the export is missing, invalid, or has changed since the export.
        ConfigError: the images have another size or number of channels, the weights do not fit networks for this
            cohort, the critic has too few blocks, or there is none whose blocks could be frozen.
    """
    start = _exported(Path(uri), frozen, cohort) if _is_export(uri) else _leader(uri, frozen, cohort)
    check_fit(start, start.config, cohort, trainables)
    return start


def check_fit(start: Start, config: TrialConfig, cohort: Cohort, trainables: Trainables) -> None:
    """Checks that initial weights fit the networks of a configuration, before a cluster is started.

    Raises:
        ConfigError: they do not, or the critic has too few blocks to freeze.
    """
    start.into(build_gan(config, cohort.spec(config.data), trainables))


def _is_export(uri: str) -> bool:
    if "://" in uri:
        return False
    folder = Path(uri)
    return any((home / name).is_file() for home in (folder, folder / "models") for name in (RECORD, WEIGHTS))


def _exported(folder: Path, frozen: int, cohort: Cohort) -> Start:
    """Reads the generator of an export."""
    record = read_record(folder)
    weights = read_weights(folder, record)
    if frozen:
        raise ConfigError(
            "an export has no critic whose blocks could be frozen",
            where="--freeze-critic",
            fix="start from the sweep's store, or leave it out",
        )
    origin = f"trial {record.trial_id}" if record.trial_id else "a production training"
    networks = {name: weights[name] for name in record.networks}
    start = Start(f"the export of {origin}", record.config, networks, generator_only=True)
    _compare(start, record.spec, cohort)
    return start


def _leader(uri: str, frozen: int, cohort: Cohort) -> Start:
    """Reads the last checkpoint of a sweep's leader."""
    try:
        store = Store.open(uri)
    except StoreError as error:
        fix = "; ".join(part for part in (error.fix, "or give the folder of an export") if part)
        raise StoreError(error.what, where=error.where, fix=fix) from None
    (leader,), ranked = ranked_leaders(store, 1, "start from")
    completed = ranked.loc[(ranked["configuration"] == leader) & (ranked["status"] == "completed"), "trial_id"]
    if leader not in set(completed):
        # The search stopped the leader's own trial early, but a repeat of it was completed.
        leader = str(completed.iloc[0])
    config = store.config(leader)
    state = store.checkpoint(leader).read_for(config, needs=("networks",))
    start = Start(f"trial {leader} of {store.info.name}", config, state["networks"], frozen)
    try:
        there = Cohort.open(store.info.cohort.path).spec(config.data)
    except CohortError:
        # Without the other cohort, the shapes of the weights reveal most differences.
        return start
    _compare(start, there, cohort)
    return start


def _compare(start: Start, there: ImageSpec, cohort: Cohort) -> None:
    """Checks that the images of both trainings have the same shape and number of classes."""
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
