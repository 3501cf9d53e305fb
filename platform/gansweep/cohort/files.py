"""Folders that appear whole or not at all, and how progress is told."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gansweep.errors import CohortError

__all__ = ["ProgressCallback", "new_folder", "progress_bar"]

ProgressCallback = Callable[[str, int, int], None]
"""(what is being done, how many are done, how many there are)."""


@contextmanager
def new_folder(out: Path, kind: str, replaces: str | None = None) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends well, and vanishes when it does not.

    Args:
        out: must not exist, or be an empty folder.
        kind: what is written, for the message.
        replaces: a file name that marks an earlier result of the same kind, which may be overwritten.

    Raises:
        CohortError: `out` holds something else, or its place cannot be written.
    """
    out = Path(out)
    mark = uuid.uuid4().hex[:8]
    temporary, earlier = (out.parent / f".{out.name}.{mark}.{suffix}" for suffix in ("part", "old"))
    try:
        _refuse_in_use(out, kind, replaces)
        temporary.mkdir(parents=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CohortError(f"cannot write here: {reason}", where=str(out), fix="choose a writable folder") from None
    try:
        yield temporary
        if out.exists():
            out.rename(earlier)
        temporary.rename(out)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CohortError(f"writing the {kind} failed: {reason}", where=str(out)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def _refuse_in_use(out: Path, kind: str, replaces: str | None) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise CohortError("is a file", where=str(out), fix=f"name a folder for the {kind}")
    if any(out.iterdir()) and not (replaces and (out / replaces).is_file()):
        raise CohortError("folder is not empty", where=str(out), fix=f"name a new folder for the {kind}")


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """A progress bar on stderr, one line per stage, for `ingest` and `write_phantom`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, int] = {}
    with Progress(*columns, console=Console(stderr=True)) as shown:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield tell
