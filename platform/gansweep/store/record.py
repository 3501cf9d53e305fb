"""Reads, checks and writes `sweep.json`, the record of a sweep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gansweep.config import ScoringSettings, validated
from gansweep.errors import ConfigError, StoreError, one_line
from gansweep.store.sweep_info import FORMAT, SweepInfo

if TYPE_CHECKING:
    from gansweep.store.filesystem import Files

__all__ = [
    "DRIVER_FILE",
    "LOST_RECORD",
    "SWEEP_FILE",
    "check_name",
    "here_already",
    "hint",
    "parse_info",
    "read_record",
    "recorded_scoring",
    "refuse_in_use",
    "write_record",
]

SWEEP_FILE = "sweep.json"
DRIVER_FILE = ".driver"
"""Claim of the process that drives the sweep."""

LOST_RECORD = "put back a copy of it; without one, sweep again under another --name (pandas still reads trials/)"


_LONGEST_NAME = 255
"""Bytes in a folder's name, on the usual file systems."""


def check_name(name: str) -> None:
    """Checks that `name` is a single folder name: a sweep's store must be its own folder in the storage.

    Raises:
        ConfigError: the name is empty, leads to another folder, or has characters with a meaning in URIs or terminals.
    """
    if len(name.encode(errors="replace")) > _LONGEST_NAME:
        what = f"a name of {len(name)} characters is too long for a folder"
        raise ConfigError(what, where="--name", fix="shorten it")
    if not name.strip() or name in (".", "..") or not name.isprintable() or set(name) & set("/\\?#%"):
        raise ConfigError(
            f"{name!r} cannot name a sweep", where="--name", fix="choose a folder's name, without any of / \\ ? # %"
        )


def read_record(files: Files) -> SweepInfo:
    """Reads the record of the sweep stored in `files`.

    Raises:
        StoreError: the record cannot be read.
    """
    return parse_info(files.read_bytes(SWEEP_FILE), f"{files.label}/{SWEEP_FILE}")


def parse_info(content: bytes, where: str) -> SweepInfo:
    """Parses the content of a `sweep.json`.

    Raises:
        StoreError: the content is not a sweep's record, or has another format version.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise StoreError("not valid JSON", where=where, fix=LOST_RECORD) from None
    if not isinstance(values, dict) or "format" not in values:
        raise StoreError("not a sweep's description", where=where, fix=LOST_RECORD)
    if values["format"] != FORMAT:
        what = f"written in format {one_line(values['format'], 20)}, this gansweep reads format {FORMAT}"
        raise StoreError(what, where=where, fix="use the gansweep that wrote it")
    later = sorted(str(key) for key in values if key not in SweepInfo.model_fields)
    if later:
        what = f"has {', '.join(map(repr, later[:3]))}, which this gansweep does not know"
        raise StoreError(what, where=where, fix="use the gansweep that wrote it, or a later one")
    try:
        return validated(SweepInfo, values, where=where)
    except ConfigError as error:
        raise StoreError(error.what, where=where, fix=LOST_RECORD) from None


def write_record(files: Files, info: SweepInfo) -> None:
    """Writes the record of the sweep stored in `files`.

    Raises:
        StoreError: the store cannot be written.
    """
    files.write_bytes(SWEEP_FILE, info.model_dump_json(indent=2).encode())


def recorded_scoring(info: SweepInfo, where: str) -> ScoringSettings:
    """Returns the scoring settings of a sweep's trials.

    Raises:
        StoreError: the record has none that are valid.
    """
    if "scoring" not in info.experiment:
        raise StoreError("missing key 'experiment.scoring'", where=where, fix=LOST_RECORD)
    try:
        return validated(ScoringSettings, info.experiment["scoring"], where=where)
    except ConfigError as error:
        raise StoreError(error.what, where=where, fix=LOST_RECORD) from None


def here_already(files: Files) -> StoreError:
    """Returns the error for a new sweep in a folder that already holds one."""
    fix = "choose another --name, or use --resume"
    return StoreError("a sweep is here already", where=files.label, fix=fix)


def refuse_in_use(files: Files) -> None:
    """Checks that a folder is empty.

    Hidden files do not count that are of a process which was about to create the same sweep, or of a sweep whose other
    files were deleted.

    Raises:
        StoreError: the folder is not empty.
    """
    _refuse_file(files)
    ours = {".lock", DRIVER_FILE}
    found = [name for name in files.contents() if name not in ours and not (name[:1] == "." and name.endswith(".tmp"))]
    if found:
        shown = ", ".join(found[:3]) + ", ..." * (len(found) > 3)
        raise StoreError(
            f"the folder is no sweep's store (it has no {SWEEP_FILE}), and it is not empty: {shown}",
            where=files.label,
            fix="choose another --name",
        )


def _refuse_file(files: Files) -> None:
    """Refuses a folder that cannot be made, because it or a folder that contains it is a file."""
    if files.local is None:
        return
    existing = next(place for place in (files.local, *files.local.parents) if place.exists())
    if not existing.is_dir():
        fix = "choose a storage that can be written"
        raise StoreError("cannot write: it is a file, and a folder belongs here", where=str(existing), fix=fix)


def hint(files: Files) -> str:
    """Returns a suggestion of what to pass instead of a folder that is not a store."""
    sweeps = [name for name in files.folders() if files.exists(f"{name}/{SWEEP_FILE}")]
    if sweeps:
        return f"give one of its sweeps: {', '.join(f'{files.label}/{name}' for name in sweeps[:5])}"
    return "give <storage>/<sweep>, the folder that `gansweep sweep` made"
