"""Atomic writes of local files and folders, file hashes, and the modules imported from a folder."""

from __future__ import annotations

import glob
import hashlib
import logging
import mimetypes
import os
import secrets
import shutil
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from gansweep.errors import CohortError, ConfigError, one_line

if TYPE_CHECKING:
    from types import ModuleType

    from gansweep.errors import GansweepError

__all__ = [
    "ProgressCallback",
    "cache_folder",
    "expanded",
    "modules_in",
    "new_folder",
    "output_file",
    "read_tensors",
    "sha256_of",
    "temporary_name",
    "write_atomically",
]

log = logging.getLogger(__name__)

ProgressCallback = Callable[[str, int, int], None]
"""Called with (what is being done, number done, total number)."""


def sha256_of(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(file: BinaryIO) -> Any:
    """Returns what `torch.save` wrote to a file, with tensors on the CPU.

    `torch.load` takes a changed weight as it is. The file is a ZIP archive, so its checksums are compared first.

    Raises:
        ValueError: the file is damaged. The message says what torch or the checksums found.
    """
    import torch

    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is None:
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Different damage raises different errors, with torch's advice for its own callers.
        raise ValueError(f"torch cannot read it: {type(error).__name__}") from None
    raise ValueError(f"the checksum of {damaged.rpartition('/')[2]} differs")


def cache_folder() -> Path:
    """Where this machine keeps from run to run what can be computed again: encoders, features, baselines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gansweep"


def modules_in(folder: Path) -> list[ModuleType]:
    """Returns the modules that were imported from files directly in `folder`."""
    imported: dict[str, list[ModuleType]] = {}
    # Thousands of modules stand in hundreds of folders, and making and resolving a path is slow.
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            imported.setdefault(os.path.dirname(file), []).append(module)  # noqa: PTH120
    here = folder.resolve()
    return [module for parent, modules in imported.items() if Path(parent).resolve() == here for module in modules]


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `path` atomically: after a crash at any time it has the old content or the new, never a part.

    Creates missing parent folders.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())  # otherwise the rename may reach the disk before the data
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(name: str) -> str:
    """Returns a file name for writing, to be used in the folder of `name`.

    It has a leading dot and its own suffix, so that neither pyarrow's datasets nor a `*.parquet` pattern include it.
    """
    return f".{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def place_of(given: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Returns what was given for a path, a URI or a name.

    Raises:
        ConfigError: it is neither a text nor a path.
    """
    if not isinstance(given, str | os.PathLike):
        raise ConfigError(f"a path is needed, not {one_line(repr(given), 80)}")
    return given


def expanded(path: str | os.PathLike[str], error: type[GansweepError] = ConfigError) -> Path:
    """Returns the absolute path of a local path that may begin with `~` or `~user`.

    Raises:
        GansweepError: of the class `error`: there is no such user.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise error("there is no such user", where=os.fspath(path), fix="write out the path") from None


_BEGINNINGS = {"HTML page": (b"<!doctype html", b"<html"), "PNG": (b"\x89png",)}
"""First bytes of each kind of file, in lower case."""

_TYPES = {"HTML page": "text/html", "PNG": "image/png"}


def output_file(
    out: Path,
    kind: Literal["HTML page", "PNG"],
    *,
    reads: Path | None,
    example: str,
    error: type[GansweepError] = ConfigError,
) -> Path:
    """Returns the absolute path of a file to write, checked to replace nothing but an earlier file of its kind.

    Args:
        out: path of the file.
        kind: what is written.
        reads: local folder that the result is made from; None: it is not on a local disk.
        example: a good file name, for the message.
        error: class of the error.

    Raises:
        GansweepError: of the class `error`: the path is a folder, lies in `reads`, is a file of another kind, or has
            the suffix of one.
    """
    target = expanded(out, error)
    where = str(target)
    try:
        if target.is_dir():
            raise error("is a folder", where=where, fix=f"give a file name such as {example}")
        if target.parent.is_file():
            raise error("cannot write here: its folder is a file", where=where, fix="name another file")
        if reads is not None and Path(os.path.realpath(target)).is_relative_to(os.path.realpath(reads)):
            raise error(f"lies in {reads}, which is read and stays as it is", where=where, fix="write it elsewhere")
        if target.exists() and not _may_be_replaced(target, kind):
            raise error(f"exists and is no {kind}, so it is not replaced", where=where, fix="name another file")
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise error(f"cannot write here: {reason}", where=where, fix="name another file") from None
    if mimetypes.guess_type(target.name)[0] not in (None, _TYPES[kind]):
        raise error(f"the result is no {target.suffix} file", where=where, fix=f"name it like {example}")
    return target


def _may_be_replaced(path: Path, kind: Literal["HTML page", "PNG"]) -> bool:
    """Returns whether a file is empty, or begins like its kind."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begins = file.read(200)
    return not begins or begins.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_BEGINNINGS[kind])


@contextmanager
def new_folder(out: Path, kind: str, replaces: str | None = None) -> Iterator[Path]:
    """Provides a temporary folder that becomes `out` if the block succeeds, and is deleted if it fails.

    A process that is killed leaves its temporary folder. The next one warns of it, because it may hold images.

    Args:
        out: destination. It must not exist, or be an empty folder.
        kind: what is written, for the message.
        replaces: name of a file that marks an earlier result of the same kind, which may be overwritten.

    Raises:
        CohortError: `out` has other content, is inside a cohort, or cannot be written.
    """
    out = Path(out)
    mark = uuid.uuid4().hex[:8]
    temporary, earlier = (out.parent / f".{out.name}.{mark}.{suffix}" for suffix in ("part", "old"))
    with _told_as_unwritable(out):
        _warn_of_leftovers(out, kind)
        _refuse_in_use(out, kind, replaces)
        _refuse_in_cohort(out, kind)
    try:
        # Ctrl-C may come at any time once the folder is there, so it is made in this block.
        with _told_as_unwritable(out):
            temporary.mkdir(parents=True)
        yield temporary
        if out.exists():
            out.rename(earlier)
        temporary.rename(out)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CohortError(f"writing the {kind} failed: {reason}", where=str(out)) from error
    finally:
        if earlier.exists() and not out.exists():  # interrupted between the two renamings
            earlier.rename(out)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def _warn_of_leftovers(out: Path, kind: str) -> None:
    found = sorted(out.parent.glob(f".{glob.escape(out.name)}.????????.*"))
    for path in found:
        shown = one_line(path)
        if path.suffix == ".old" and not out.exists():
            log.warning("%s is the earlier %s, left by a run that was killed: rename it to keep it", shown, kind)
        elif path.suffix in {".old", ".part"}:
            log.warning("%s is left by a run that was killed: delete it, unless another run is writing it", shown)


@contextmanager
def _told_as_unwritable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CohortError(f"cannot write here: {reason}", where=str(out), fix="choose a writable folder") from None


def _refuse_in_cohort(out: Path, kind: str) -> None:
    """Refuses a folder inside a cohort, because the next ingest replaces the cohort as a whole."""
    for above in out.absolute().parents:
        if (above / "cohort.json").is_file():
            fix = f"name a folder outside it for the {kind}"
            what = f"is inside the cohort {one_line(above)}, which an ingest replaces"
            raise CohortError(what, where=str(out), fix=fix)


def _refuse_in_use(out: Path, kind: str, replaces: str | None) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise CohortError("is a file", where=str(out), fix=f"name a folder for the {kind}")
    if any(out.iterdir()) and not (replaces and (out / replaces).is_file()):
        raise CohortError("folder is not empty", where=str(out), fix=f"name a new folder for the {kind}")
