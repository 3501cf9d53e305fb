"""Finds the images in a folder, with labels from a CSV, a BIDS dataset, or one folder per class."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cohort.sources.bids import find_bids, is_bids
from gansweep.cohort.sources.columns import Columns
from gansweep.cohort.sources.folders import sources_of_folders
from gansweep.cohort.sources.labels_csv import sources_of_csv
from gansweep.cohort.sources.relabelling import Relabelling
from gansweep.cohort.sources.walk import is_hidden
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.cohort.sources.source import Rejected, Source

__all__ = ["find_sources"]

logger = logging.getLogger(__name__)

_TABLES = {".csv", ".tsv", ".xlsx", ".xls", ".ods", ".parquet"}


def find_sources(
    root: Path,
    labels: Path | None = None,
    *,
    columns: Columns | None = None,
    labelled: bool = True,
    relabel: Mapping[str, str] | None = None,
) -> tuple[list[Source], list[Rejected]]:
    """Finds all images under `root`.

    Args:
        root: the user's folder.
        labels: a labels CSV; None: `labels.csv` in `root`, in any case, if it exists, else BIDS, else one folder per
            class.
        columns: columns of the CSV that the user named; for BIDS, that of the label.
        labelled: whether images need labels; False if the labels come from masks.
        relabel: new labels by old ones.

    Returns:
        (sources in the order of the CSV or of their names, rejected).

    Raises:
        CohortError: there is no such folder, no image, no label or no such column, the CSV is unreadable, or a label to
            be mapped does not occur.
    """
    root = Path(root)
    if not root.is_dir():
        raise CohortError("no such folder", where=str(root), fix="name the folder that holds the images")
    labels = _labels_in(root) if labels is None else labels
    columns = columns or Columns()
    renamed = Relabelling(relabel)
    if labels is not None:
        found = sources_of_csv(root, Path(labels), columns, labelled, renamed)
    else:
        bids = is_bids(root)
        split = None if columns.split == "split" else columns.split
        _tell_of_tables(root, bids=bids)
        _refuse_columns(root, columns.path, None if bids else columns.label, columns.patient, columns.paired, split)
        found = (
            find_bids(root, columns.label, labelled, renamed) if bids else sources_of_folders(root, labelled, renamed)
        )
    renamed.check()
    return found


def _labels_in(root: Path) -> Path | None:
    """Returns `labels.csv` in a folder, or the only file of that name in another case."""
    exact = root / "labels.csv"
    if exact.is_file():
        return exact
    alike = [path for path in root.iterdir() if path.name.casefold() == exact.name and path.is_file()]
    if len(alike) > 1:
        names = " and ".join(sorted(path.name for path in alike))
        raise CohortError(f"has {names}", where=str(root), fix="name one of them with --labels")
    return alike[0] if alike else None


def _tell_of_tables(root: Path, *, bids: bool) -> None:
    """Logs tables that are not used: patients or labels that contradict the folders may be in them."""
    suffixes = [path.suffix.casefold() for path in root.iterdir() if not is_hidden(path.name)]
    tables = [suffix for suffix in suffixes if suffix in _TABLES]
    if tables and not bids:
        shown = (
            f"{len(tables)} {'table' if len(tables) == 1 else 'tables'} beside them ({', '.join(sorted(set(tables)))})"
        )
        logger.warning("labels come from the folders, not from %s: --labels names a CSV with path,label", shown)


def _refuse_columns(root: Path, *columns: str | None) -> None:
    """Refuses options for CSV columns if there is no CSV."""
    asked = next((name for name in columns if name), None)
    if asked:
        raise CohortError(f"no CSV to take column {asked!r} from", where=str(root), fix="name it with --labels")
