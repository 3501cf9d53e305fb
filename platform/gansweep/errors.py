"""Every error a user can cause, as one small tree.

GansweepError            the command line prints its one line and exits with status 2
├── CohortError          scans, labels, masks, splits
├── ConfigError          a trial configuration, a search space, a setting
├── StoreError           a sweep's store: missing, not one, not writable
├── ClusterError         not enough workers, no cluster, a refused submission
└── ExportError          a bundle, a generator, an output folder

Diverged                 not a user's mistake: a trial that ended without a usable generator
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ClusterError",
    "CohortError",
    "ConfigError",
    "Diverged",
    "ExportError",
    "GansweepError",
    "StoreError",
    "close_to",
    "one_line",
    "printable",
    "unknown_name",
]


class GansweepError(Exception):
    """An error that the user can fix.

    Args:
        what: what is wrong, with the offending value.
        where: file, option or key with the error; empty if `what` states it.
        fix: what the user can do.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return one_line(f"{line}; {self.fix}" if self.fix else line)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(kind: type[GansweepError], what: str, where: str, fix: str) -> GansweepError:
    """Rebuilds an error: Ray pickles errors between processes, and their arguments are keyword-only."""
    return kind(what, where=where, fix=fix)


class CohortError(GansweepError):
    """Scans, labels, masks or splits that cannot be used."""


class ConfigError(GansweepError):
    """A trial configuration, a search space or a setting that cannot be used."""


class StoreError(GansweepError):
    """A sweep's store that is missing, is not one, or cannot be written."""


class ClusterError(GansweepError):
    """A cluster that cannot do what was asked."""


class ExportError(GansweepError):
    """An export that cannot be made or read."""


class Diverged(Exception):
    """A trial ended without a usable generator: a non-finite loss, a dead critic, collapsed samples."""


def one_line(text: object, length: int | None = None) -> str:
    """Returns `text` on one line of at most `length` characters, without control characters.

    Reasons come from libraries and from users' files. An escape sequence in one could change what a terminal shows.
    """
    return printable(" ".join(str(text).split()))[:length]


def counted(n: int, noun: str, plural: str = "") -> str:
    """Returns a number of things: `1 trial`, `2 trials`. By default the plural is the noun and an `s`."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural or noun + 's'}"


def printable(text: str) -> str:
    """Returns `text` without control characters and marks of writing direction. Line breaks are kept."""
    if text.isprintable():
        return text
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


def close_to(name: str, known: Iterable[str]) -> str:
    """Returns `did you mean NAME? ` with the known name that is closest to a wrong one; empty if none is close."""
    # FID is fid, whatever a user is used to.
    by_lower_case = {other.lower(): other for other in known}
    close = get_close_matches(name.lower(), list(by_lower_case), n=1)
    return f"did you mean {by_lower_case[close[0]]}? " if close else ""


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, where: str = "", error: type[GansweepError] = ConfigError
) -> GansweepError:
    """Returns the error for a name that no registry has, with the closest known name and all the others.

    Args:
        kind: kind of the name: `detector`, `search space`.
        name: name given by the user.
        known: known names.
        where: key or option with the name.
        error: class of the error.
    """
    names = sorted(known)
    return error(
        f"unknown {kind} {name!r}", where=where, fix=f"{close_to(name, names)}known: {', '.join(names) or 'none'}"
    )
