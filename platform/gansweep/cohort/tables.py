"""Tables of text as spreadsheets, hospitals and BIDS write them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["column_name", "read_table", "require_column"]


def read_table(table: Path, delimiters: str = ",;\t") -> tuple[list[dict[str, str]], list[str]]:
    """Rows with stripped cells ("" for those that are missing) by column, and the columns as `column_name` has them.

    Args:
        table: with a line of column names first, in UTF-8.
        delimiters: the first that the first line contains parts the cells.

    Raises:
        CohortError: no such file, one that is no table of text, or a column that is there twice.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = file.readlines()
        delimiter = next((mark for mark in delimiters if mark in "".join(lines[:1])), delimiters[0])
        reader = csv.DictReader(lines, delimiter=delimiter)
        columns = [column_name(name) for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except FileNotFoundError:
        raise CohortError("no such file", where=str(table), fix="name the labels CSV with --labels") from None
    except UnicodeDecodeError:
        raise CohortError("is not in UTF-8", where=str(table), fix="save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise CohortError(f"not a readable table ({error})", where=str(table)) from None
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise CohortError(f"has two columns called {twice[0]!r}", where=table.name, fix="keep one of them")
    return rows, columns


def column_name(text: str) -> str:
    """A column's name without regard to case and surrounding spaces."""
    return text.strip().lower()


def require_column(name: str, columns: list[str], table: Path, fix: str) -> None:
    """Refuses a table without a certain column.

    Raises:
        CohortError: naming the columns that are there.
    """
    if name not in columns:
        raise CohortError(f"no column {name!r} (columns: {', '.join(columns)})", where=table.name, fix=fix)
