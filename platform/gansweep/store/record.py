"""Reads, checks and writes `sweep.json`, the record of a sweep, and the copy beside it.

Nothing else says what a sweep's rows are of, so that a damaged record would cost the whole sweep.
"""

from __future__ import annotations

import json
import logging
import re
from functools import cache
from typing import TYPE_CHECKING

from gansweep.config import ScoringSettings, validated
from gansweep.errors import ConfigError, StoreError, one_line
from gansweep.store.sweep_info import FORMAT, SweepInfo

if TYPE_CHECKING:
    from gansweep.store.filesystem import Files

__all__ = [
    "COPY_FILE",
    "DRIVER_FILE",
    "LOST_RECORD",
    "SWEEP_FILE",
    "check_name",
    "here_already",
    "hint",
    "is_begun",
    "parse_info",
    "read_record",
    "recorded_scoring",
    "refuse_in_use",
    "restore_record",
    "write_record",
]

SWEEP_FILE = "sweep.json"
COPY_FILE = "sweep.copy.json"
"""Copy of the record. It is read if the record is missing or cut short, and only then."""
DRIVER_FILE = ".driver"
"""Claim of the process that drives the sweep."""

log = logging.getLogger(__name__)

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


def is_begun(files: Files) -> bool:
    """Returns whether a folder has the record of a sweep, or its copy."""
    return files.exists(SWEEP_FILE) or files.exists(COPY_FILE)


def read_record(files: Files) -> SweepInfo:
    """Reads the record of the sweep stored in `files`, or its copy if the record is lost. Warns of it once.

    Raises:
        StoreError: the record cannot be read, and it is not lost or there is no copy of it.
    """
    info, loss = _read(files)
    if loss:
        _tell(_where(files), loss)
    return info


def restore_record(files: Files) -> None:
    """Writes a lost record again from its copy, and a lost or older copy from the record.

    Raises:
        StoreError: neither can be read, or the store cannot be written.
    """
    with files.locked():
        info, loss = _read(files)
        if loss or not _is_copied(files, info):
            write_record(files, info)


class _LostRecordError(StoreError):
    """A record that is missing, or so damaged that nobody can have written it as it is."""


def _read(files: Files) -> tuple[SweepInfo, str]:
    """Returns the record, and how it was lost if this is its copy."""
    content = _content(files, SWEEP_FILE)
    try:
        if content is None:
            raise _LostRecordError("is missing", where=_where(files), fix=LOST_RECORD)
        return parse_info(content, _where(files)), ""
    except _LostRecordError as error:
        copied = _copied(files)
        if copied is None or not _may_be_of(content or b"", copied.name):
            raise
        return copied, error.what


def _copied(files: Files) -> SweepInfo | None:
    """Returns the copy of the record; None if it is missing or damaged.

    Raises:
        StoreError: another version of this program wrote it.
    """
    content = _content(files, COPY_FILE)
    try:
        return None if content is None else parse_info(content, f"{files.label}/{COPY_FILE}")
    except _LostRecordError:
        return None


def _is_copied(files: Files, info: SweepInfo) -> bool:
    try:
        return _copied(files) == info
    except StoreError:
        return False


def _content(files: Files, rel: str) -> bytes | None:
    try:
        return files.read_bytes(rel)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _may_be_of(damaged: bytes, name: str) -> bool:
    """Returns whether what is left of a record does not name another sweep. The name is its first key."""
    found = re.match(rb'\{\s*"name":\s*("(?:[^"\\]|\\.)*")', damaged)
    try:
        return found is None or json.loads(found[1]) == name
    except ValueError:  # the damage is in the name
        return True


@cache
def _tell(where: str, loss: str) -> None:
    """Warns of a lost record. A process that opens the store again does not repeat it."""
    log.warning("%s: %s; going on from its copy, %s", where, loss, COPY_FILE)


def _where(files: Files) -> str:
    return f"{files.label}/{SWEEP_FILE}"


def parse_info(content: bytes, where: str) -> SweepInfo:
    """Parses the content of a `sweep.json`.

    Raises:
        StoreError: the content is not a sweep's record, or has another format version.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise _LostRecordError("not valid JSON", where=where, fix=LOST_RECORD) from None
    if not isinstance(values, dict) or "format" not in values:
        raise _LostRecordError("not a sweep's description", where=where, fix=LOST_RECORD)
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
    """Writes the record of the sweep stored in `files`, and its copy.

    The copy comes first, so that it is never older: an opening of the test patients must not be lost with the record.

    Raises:
        StoreError: the store cannot be written.
    """
    content = info.model_dump_json(indent=2).encode()
    files.write_bytes(COPY_FILE, content)
    files.write_bytes(SWEEP_FILE, content)


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
    records = (SWEEP_FILE, COPY_FILE)
    sweeps = [name for name in files.folders() if any(files.exists(f"{name}/{record}") for record in records)]
    if sweeps:
        return f"give one of its sweeps: {', '.join(f'{files.label}/{name}' for name in sweeps[:5])}"
    return "give <storage>/<sweep>, the folder that `gansweep sweep` made"
