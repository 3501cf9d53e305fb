"""Summary of a cohort as a small HTML table for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

__all__ = ["html_summary"]


def html_summary(
    manifest: pd.DataFrame, classes: Sequence[str], splits: Sequence[str], facts: Mapping[str, str]
) -> str:
    """Returns a table with one row per class and one column per split.

    It needs no style sheet or script. It contains only counts, neither patients' names nor their hashes.

    Args:
        manifest: one row per image, with the columns `label`, `split` and `patient`.
        classes: class names, in row order.
        splits: split names, in column order.
        facts: additional lines of text, by name.
    """
    header = "".join(_cell("th", f"{split}: images (patients)") for split in splits)
    rows = [f"<tr>{_cell('th', 'class')}{header}</tr>"]
    for name in classes:
        cells = "".join(_cell("td", _counts(manifest, name, split)) for split in splits)
        rows.append(f"<tr>{_cell('th', name)}{cells}</tr>")
    totals = "".join(_cell("td", _counts(manifest, None, split)) for split in splits)
    rows.append(f"<tr>{_cell('th', 'all classes')}{totals}</tr>")

    lines = ", ".join(f"{escape(name)} {escape(value)}" for name, value in facts.items())
    return f"<table><caption>Cohort: {lines}</caption>{''.join(rows)}</table>"


def _counts(manifest: pd.DataFrame, label: str | None, split: str) -> str:
    """Returns the numbers of images and patients of one class (None: of all) in one split."""
    part = manifest[manifest["split"] == split]
    if label is not None:
        part = part[part["label"] == label]
    return f"{len(part)} ({part['patient'].nunique()})"


def _cell(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"
