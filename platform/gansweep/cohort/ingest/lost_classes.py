"""Tells of classes of which no image is left. The table of the classes cannot show them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.ingest.rejected import reasons_of
from gansweep.cohort.sources.hiding import names_nobody, shown_name
from gansweep.cohort.sources.nesting import CLASS_WORDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from gansweep.cohort.sources.source import Rejected, Source

__all__ = ["lost_classes"]

_DEGREES = "mild moderate severe grade stage type class early late other"
_LABELS = (*CLASS_WORDS, *_DEGREES.split())


def lost_classes(
    kept: Sequence[Source], labels: Collection[str], rejected: Sequence[Rejected], wanted: Collection[str] | None
) -> list[str]:
    """Returns a warning for each class whose files were all left out, and for each folder in which nothing is read.

    Args:
        kept: images of the cohort.
        labels: their classes.
        rejected: files left out.
        wanted: the classes that the user selected; None: all.
    """
    lost: dict[str, list[Rejected]] = defaultdict(list)
    for item in rejected:
        if item.label and item.label not in labels and (wanted is None or item.label in wanted):
            lost[item.label].append(item)
    warnings = []
    for label, items in sorted(lost.items()):
        warnings.append(f"no image of {_name_of(label, items[0])} is left: {_shown(items)}")
    for folder, unread in sorted(_unread_folders(kept, rejected).items()):
        shown = shown_name(folder.name, folder, labels)
        warnings.append(f"no image is read in {shown}: {_shown(unread)}")
    return warnings


def _name_of(label: str, item: Rejected) -> str:
    """Returns the name of a class for a message. A folder of which nothing is used may be called after a patient.

    So may the label in a row that names no file, because its cells may be shifted.
    """
    parts = PurePath(item.name).parts
    if names_nobody(label, _LABELS) or (item.path is not None and label not in parts):
        return f"class {label!r}"
    if item.path is None:
        return "a class"
    folder = item.path.parents[len(parts) - 2 - parts.index(label)]
    return f"class {shown_name(label, folder)}"


def _shown(items: Sequence[Rejected]) -> str:
    """Returns the most common reason with its count."""
    (reason, count), *others = reasons_of(items).items()
    return f"{count} x {reason}{', and for other reasons' if others else ''}"


def _unread_folders(kept: Sequence[Source], rejected: Sequence[Rejected]) -> Mapping[Path, Sequence[Rejected]]:
    """Returns what was left out in folders beside those of the classes, if the classes are the outermost folders."""
    if any(source.line or source.split or source.name.startswith("sub-") for source in kept):
        return {}
    folders = {PurePath(source.name).parts[0] for source in kept}
    found: dict[Path, list[Rejected]] = defaultdict(list)
    for item in rejected:
        first, *below = PurePath(item.name).parts
        if below and item.path is not None and not item.label and first not in folders:
            found[item.path.parents[len(below) - 1]].append(item)
    return found
