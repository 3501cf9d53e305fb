"""Finds the images in a folder, with labels from a CSV, a BIDS dataset, or one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cohort.sources.bids import find_bids, is_bids
from gansweep.cohort.sources.folders import sources_of_folders
from gansweep.cohort.sources.labels_csv import Columns, sources_of_csv
from gansweep.cohort.sources.relabelling import Relabelling
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.cohort.sources.source import Rejected, Source

__all__ = ["find_sources"]


def find_sources(
    root: Path,
    labels: Path | None = None,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str = "split",
    paired_column: str | None = None,
    labelled: bool = True,
    relabel: Mapping[str, str] | None = None,
) -> tuple[list[Source], list[Rejected]]:
    """Finds all images under `root`.

    Args:
        root: the user's folder.
        labels: a labels CSV; None: `labels.csv` in `root` if it exists, else BIDS, else one folder per class.
        path_column: column of the CSV with the path; None: `path`.
        label_column: column with the label; None: `label`, and for BIDS the first common name.
        split_column: column of the CSV with train, val or test.
        paired_column: column of the CSV with the image of the other modality; None: `paired`, or the first that begins
            with `paired_`.
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
    if labels is None and (root / "labels.csv").is_file():
        labels = root / "labels.csv"
    renamed = Relabelling(relabel)
    if labels is not None:
        columns = Columns(path_column, label_column, split_column, paired_column)
        found = sources_of_csv(root, Path(labels), columns, labelled, renamed)
    else:
        bids = is_bids(root)
        _refuse_columns(
            root,
            path_column,
            None if bids else label_column,
            paired_column,
            None if split_column == "split" else split_column,
        )
        found = (
            find_bids(root, label_column, labelled, renamed) if bids else sources_of_folders(root, labelled, renamed)
        )
    renamed.check()
    return found


def _refuse_columns(root: Path, *columns: str | None) -> None:
    """Refuses options for CSV columns if there is no CSV."""
    asked = next((name for name in columns if name), None)
    if asked:
        raise CohortError(f"no CSV to take column {asked!r} from", where=str(root), fix="name it with --labels")
