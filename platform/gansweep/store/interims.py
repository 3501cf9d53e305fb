"""Progress of running trials between two reports: one small file per trial, the interim, replaced every half minute."""

from __future__ import annotations

import contextlib
import json
import threading
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, FiniteFloat, ValidationError

from gansweep.errors import StoreError
from gansweep.progress import Interim

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from gansweep.store.store import Store

__all__ = ["interim_of", "interim_text", "interims_logged", "last_interim", "polling", "read_interim", "write_interim"]

_FOLDER = "progress"
_POLL_SECONDS = 5.0


class _Interim(BaseModel):
    """An interim in a file, which may be damaged."""

    iteration: int
    iterations: int
    losses: dict[str, float]  # not finite if the training has diverged
    images_per_second: float
    seconds_left: FiniteFloat


def write_interim(store: Store, trial_id: str, interim: Interim) -> None:
    """Replaces a trial's interim. A storage error is ignored, because it costs only one line of the log."""
    with contextlib.suppress(StoreError):
        store.write_bytes(f"{_FOLDER}/{trial_id}.json", json.dumps(asdict(interim)).encode())


def interim_of(store: Store, trial_id: str) -> Interim | None:
    """Returns a trial's last interim, or None if none can be read. It may be older than the trial's last report."""
    try:
        return read_interim(store.read_bytes(f"{_FOLDER}/{trial_id}.json"))
    except StoreError:
        return None


def read_interim(content: bytes) -> Interim | None:
    """Returns the interim in a file's content, or None if that is damaged."""
    try:
        return Interim(**dict(_Interim.model_validate_json(content)))
    except ValidationError:
        return None


def last_interim(store: Store) -> datetime | None:
    """Returns when a trial last wrote an interim, in UTC, or None if none has or the storage cannot be read."""
    changed = _changes(store).values()
    return datetime.fromtimestamp(max(changed) / 1e9, UTC) if changed else None


def interim_text(interim: Interim) -> str:
    """Formats an interim as one line.

    Example: `iteration 400 of 2000: critic_loss -1.2, generator_loss 0.45, 812 images/s, 1:30 left`.
    """
    parts = [f"{name} {value:.3g}" for name, value in interim.losses.items() if name.endswith("_loss")]
    parts.append(f"{interim.images_per_second:.0f} images/s")
    minutes, seconds = divmod(round(interim.seconds_left), 60)
    parts.append(f"{minutes}:{seconds:02d} left")
    return f"iteration {interim.iteration} of {interim.iterations}: {', '.join(parts)}"


@contextmanager
def interims_logged(store: Store, log: logging.Logger) -> Iterator[None]:
    """Logs each interim that appears in the store while the block runs.

    Args:
        store: store of the sweep. Its workers may be on other machines.
        log: logger for the lines.
    """
    seen = _changes(store)

    def look() -> None:
        for trial_id, changed in _changes(store).items():
            if seen.get(trial_id) == changed:
                continue
            seen[trial_id] = changed
            interim = interim_of(store, trial_id)
            # The trial's report covers the last iteration, and may already have been logged.
            if interim is not None and interim.iteration < interim.iterations:
                log.info("trial %s %s", trial_id, interim_text(interim))

    with polling(look, _POLL_SECONDS):
        yield


@contextmanager
def polling(look: Callable[[], None], seconds: float, *, at_end: bool = False) -> Iterator[None]:
    """Calls `look` at regular intervals, in a thread, while the block runs.

    Args:
        look: function to call.
        seconds: time between two calls.
        at_end: whether to call it once more after the block.
    """
    done = threading.Event()

    def poll() -> None:
        while not done.wait(seconds):
            look()
        if at_end:
            look()

    thread = threading.Thread(target=poll, name="polling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _changes(store: Store) -> dict[str, int]:
    """Returns when each trial's interim was last written. Empty if the storage cannot be read at the moment."""
    try:
        return {entry.name.removesuffix(".json"): entry.changed_ns for entry in store.list(_FOLDER)}
    except StoreError:
        return {}
