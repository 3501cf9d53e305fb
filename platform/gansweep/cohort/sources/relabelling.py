"""Renames and merges labels according to `--map OLD=NEW`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cohort.sources.tables import read_table
from gansweep.cohort.sources.words import given, label_form
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Relabelling", "parse_map"]


def parse_map(items: Iterable[str]) -> dict[str, str]:
    """Returns new labels by old ones.

    Args:
        items: `OLD=NEW` each, or the path of a CSV with the columns `old,new`.

    Raises:
        CohortError: an item is neither, or a label is mapped twice.
    """
    pairs: list[tuple[str, str]] = []
    for item in items:
        old, equals, new = item.partition("=")
        if equals:
            pairs.append((label_form(old), label_form(new)))
        elif Path(item).is_file():
            pairs += _pairs_of_file(Path(item))
        else:
            raise CohortError(f"{item!r} is neither OLD=NEW nor a file", where="--map", fix="for example Fahr=fahr")
    mapping: dict[str, str] = {}
    for old, new in pairs:
        if not new:
            raise CohortError(f"{old!r} has no new label", where="--map", fix="write OLD=NEW")
        if mapping.setdefault(old, new) != new:
            raise CohortError(f"{old!r} is mapped to both {mapping[old]!r} and {new!r}", where="--map")
    return mapping


def _pairs_of_file(path: Path) -> list[tuple[str, str]]:
    table = read_table(path)
    if not {"old", "new"} <= set(table.columns):
        raise CohortError("needs the columns old,new", where=path.name, fix="write the header old,new")
    return [(label_form(row["old"]), label_form(row["new"])) for row in table.rows]


class Relabelling:
    """Applies a map to labels, and records which labels occurred.

    Args:
        mapping: new labels by old ones.
    """

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self._mapping = dict(mapping or {})
        self._seen: set[str] = set()
        self._labels: dict[str, str] = {}  # of a few labels in many rows, each is looked at once
        self._folders: set[str] = set()

    def __call__(self, label: str) -> str:
        """Returns the label to use; "" if there is none.

        A word for a missing value, such as `none`, can be mapped to a label.
        """
        if label not in self._labels:
            form = label_form(label)
            self._seen.add(form)
            self._labels[label] = self._mapping.get(form) or given(form)
        return self._labels[label]

    def of_folder(self, name: str) -> str:
        """Returns the label of a class folder.

        Its name is never a missing value, because somebody created the folder.
        """
        name = label_form(name)
        self._seen.add(name)
        self._folders.add(name)
        return self._mapping.get(name, name)

    def check(self) -> None:
        """Checks that every label of the map occurred, and that no new one stands for a missing value.

        A folder may have such a name, because somebody created it.

        Raises:
            CohortError: a label did not occur, or is mapped to a missing value.
        """
        for old, new in self._mapping.items():
            if not given(new) and new not in self._folders:
                fix = "choose another label; --classes leaves classes out"
                raise CohortError(
                    f"{old!r} is mapped to {new!r}, which stands for a missing value", where="--map", fix=fix
                )
        unused = sorted(set(self._mapping) - self._seen)
        if unused:
            there = ", ".join(sorted(self._seen - {""})) or "none"
            raise CohortError(f"no image is labelled {unused[0]!r}", where="--map", fix=f"labels: {there}")
