"""Where the running trials of a store are between two reports: one small file a trial, replaced every half minute."""

from __future__ import annotations

import contextlib
import json
import threading
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from gansweep.errors import StoreError
from gansweep.progress import Interim

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from gansweep.store.store import Store

__all__ = ["interim_of", "interim_text", "interims_logged", "write_interim"]

_FOLDER = "progress"
_POLL_SECONDS = 5.0


def write_interim(store: Store, trial_id: str, interim: Interim) -> None:
    """Replaces a trial's interim. A storage that refuses it costs a line of the log, and never the trial."""
    with contextlib.suppress(StoreError):
        store.write_bytes(f"{_FOLDER}/{trial_id}.json", json.dumps(asdict(interim)).encode())


def interim_of(store: Store, trial_id: str) -> Interim | None:
    """A trial's last interim, which may be older than its last report; None if it has none that can be read."""
    try:
        return Interim(**json.loads(store.read_bytes(f"{_FOLDER}/{trial_id}.json")))
    except (StoreError, ValueError, TypeError):
        return None


def interim_text(interim: Interim) -> str:
    """`iteration 400 of 2000: critic_loss -1.2, generator_loss 0.45, 812 images/s, 1:30 left`."""
    losses = [f"{name} {value:.3g}" for name, value in interim.losses.items() if name.endswith("_loss")]
    minutes, seconds = divmod(round(interim.seconds_left), 60)
    pace = f"{interim.images_per_second:.0f} images/s"
    told = ", ".join([*losses, pace, f"{minutes}:{seconds:02d} left"])
    return f"iteration {interim.iteration} of {interim.iterations}: {told}"


@contextmanager
def interims_logged(store: Store, log: logging.Logger) -> Iterator[None]:
    """Logs each interim that appears in the store while the block runs.

    Args:
        store: of the sweep; its workers may be on other machines.
        log: who tells.
    """
    seen = _changes(store)
    done = threading.Event()

    def tell() -> None:
        while not done.wait(_POLL_SECONDS):
            for trial_id, changed in _changes(store).items():
                if seen.get(trial_id) == changed:
                    continue
                seen[trial_id] = changed
                interim = interim_of(store, trial_id)
                # The last iteration is told by the report, which may have been logged before this line could be.
                if interim is not None and interim.iteration < interim.iterations:
                    log.info("trial %s %s", trial_id, interim_text(interim))

    thread = threading.Thread(target=tell, name="interims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _changes(store: Store) -> dict[str, int]:
    """When each trial's interim was last written; nothing where the storage cannot be read just now."""
    try:
        return {entry.name.removesuffix(".json"): entry.changed_ns for entry in store.list(_FOLDER)}
    except StoreError:
        return {}
