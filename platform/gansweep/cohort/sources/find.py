"""Finds the images in a folder, with labels from a CSV, a BIDS dataset, or one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cohort.sources.bids import find_bids, is_bids
from gansweep.cohort.sources.folders import sources_of_folders
from gansweep.cohort.sources.labels_csv import sources_of_csv
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from gansweep.cohort.sources.source import Rejected, Source

__all__ = ["find_sources"]


def find_sources(
    root: Path,
    labels: Path | None = None,
    *,
    label_column: str | None = None,
    split_column: str = "split",
    paired_column: str | None = None,
    labelled: bool = True,
) -> tuple[list[Source], list[Rejected]]:
    """Finds all images under `root`.

    Args:
        root: the user's folder.
        labels: a labels CSV; None: `labels.csv` in `root` if it exists, else BIDS, else one folder per class.
        label_column: the column with the label; None: `label`, and for BIDS the first common name.
        split_column: the column of the CSV with train, val or test.
        paired_column: the column of the CSV with the image of the other kind; None: `paired`, or the first that begins
            with `paired_`.
        labelled: whether images need labels; False if the labels come from masks.

    Returns:
        (sources in the order of the CSV or of their names, rejected).

    Raises:
        CohortError: no such folder, no images, no labels, an unreadable CSV, or no such column.
    """
    root = Path(root)
    if not root.is_dir():
        raise CohortError("no such folder", where=str(root), fix="name the folder that holds the images")
    if labels is None and (root / "labels.csv").is_file():
        labels = root / "labels.csv"
    if labels is not None:
        return sources_of_csv(root, Path(labels), label_column, split_column, paired_column, labelled)

    bids = is_bids(root)
    columns = (None if bids else label_column, paired_column, None if split_column == "split" else split_column)
    asked = next((name for name in columns if name), None)
    if asked:
        raise CohortError(f"no CSV to take column {asked!r} from", where=str(root), fix="name it with --labels")
    if bids:
        return find_bids(root, label_column, labelled)
    return sources_of_folders(root, labelled), []
