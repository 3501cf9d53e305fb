"""A cohort that travels: `submit` puts it into the storage, and each node keeps a copy of its own.

It lies under `<storage>/cohorts/<content hash>/`, so that equal cohorts are there once. `cohort.json` is written last:
where it is, the rest is complete.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cache import locked
from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError
from gansweep.files import cache_folder
from gansweep.store.filesystem import Files

if TYPE_CHECKING:
    from gansweep.store.store import Store

__all__ = ["FOLDER", "find_cohort", "is_in_storage", "place_for_workers", "put_cohort", "sweeps_cohort"]

FOLDER = "cohorts"
"""Folder of a storage that contains its cohorts."""

_PREFIX = "storage:"
_RECORD = "cohort.json"
_DOWNLOAD = ".download-"

log = logging.getLogger(__name__)


def put_cohort(cohort: Cohort, storage: str) -> str:
    """Copies a cohort into a storage, unless the storage has it, and returns a name for `find_cohort`.

    Only the files that trainings need are copied, which excludes the list of ignored scans.

    Raises:
        StoreError: the storage cannot be written.
    """
    place = f"{_PREFIX}{cohort.content_hash}"
    files = Files(storage).child(FOLDER).child(cohort.content_hash)
    if files.exists(_RECORD):
        log.info("%s is in the storage already, as cohort %s", cohort.path, cohort.content_hash[:12])
        return place
    for name in (*sorted({*cohort.info.files, "manifest.parquet"}), _RECORD):
        files.upload(cohort.path / name, name)
    log.info("put %s into the storage, as cohort %s", cohort.path, cohort.content_hash[:12])
    return place


def is_in_storage(place: str | Path) -> bool:
    """Returns whether `place` is a name from `put_cohort`."""
    return str(place).startswith(_PREFIX)


def find_cohort(place: str | Path, storage: str, content_hash: str = "") -> Cohort:
    """Opens a cohort at its path. If there is none, opens this machine's copy of the cohort in the storage.

    Args:
        place: folder of the cohort, or a name from `put_cohort`.
        storage: folder or URI of the storage.
        content_hash: content hash of the cohort; empty if unknown.

    Raises:
        CohortError: the cohort is in neither place, or is damaged.
        StoreError: the storage cannot be read.
    """
    named = str(place)
    if is_in_storage(named):
        content_hash = named.removeprefix(_PREFIX)
    elif not content_hash or Path(place).is_dir():
        return Cohort.open(place)
    files = Files(storage).child(FOLDER).child(content_hash)
    here = cache_folder() / FOLDER / content_hash
    if not (here / _RECORD).is_file() and not files.exists(_RECORD):
        if not is_in_storage(named):
            return Cohort.open(place)  # raises the error for a missing cohort
        raise CohortError("the storage has no such cohort", where=named, fix="submit puts one there: --cohort DIR")
    return _copy_here(files, here)


def place_for_workers(cohort: Cohort) -> str:
    """Returns the name under which workers on other nodes find the cohort: each node has its own copy."""
    copied = cohort.path.parent == cache_folder() / FOLDER
    return f"{_PREFIX}{cohort.content_hash}" if copied else str(cohort.path.resolve())


def sweeps_cohort(store: Store, place: str | Path) -> Cohort:
    """Opens the cohort of a sweep, which was at `place` when it was last used.

    Raises:
        CohortError, StoreError: see `find_cohort`.
    """
    return find_cohort(place, store.storage, store.info.cohort.content_hash)


def _copy_here(files: Files, folder: Path) -> Cohort:
    """Opens the copy of a cohort in `folder`. Downloads it if it is missing or damaged."""
    with locked(folder):
        if (folder / _RECORD).is_file():
            try:
                return Cohort.open(folder)
            except CohortError as damaged:
                log.warning("%s; fetching it again", damaged)
                shutil.rmtree(folder)
        # Downloads are in the same parent folder, so that the last step is a rename. Those of killed processes are
        # incomplete.
        for incomplete in folder.parent.glob(f"{_DOWNLOAD}{folder.name}*"):
            shutil.rmtree(incomplete, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{_DOWNLOAD}{folder.name}", dir=folder.parent) as partial:
            whole = Path(partial, "cohort")
            whole.mkdir()
            for entry in files.list():
                files.download(entry.name, whole / entry.name)
            Cohort.open(whole)
            whole.rename(folder)
    return Cohort.open(folder)
