"""Reads delimited text tables as spreadsheets, hospitals and BIDS write them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["column_name", "read_table", "require_column"]


def read_table(table: Path, delimiters: str = ",;\t") -> tuple[list[dict[str, str]], list[str]]:
    """Reads a table.

    Args:
        table: a UTF-8 file whose first line has the column names.
        delimiters: candidates; the first one that occurs in the first line is used.

    Returns:
        (rows, columns): each row maps column names to stripped cells, "" for missing ones. Column names are those of
        `column_name`.

    Raises:
        CohortError: there is no such file, it is not a text table, or two columns have the same name.
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
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
    """A column name in lower case, without surrounding spaces."""
    return text.strip().lower()


def require_column(name: str, columns: list[str], table: Path, fix: str) -> None:
    """Checks that a table has a column.

    Args:
        name: the column, as `column_name` gives it.
        columns: the columns of the table.
        table: the table, for the message.
        fix: what the user can do, for the message.

    Raises:
        CohortError: the column is missing; the message lists the existing ones.
    """
    if name not in columns:
        raise CohortError(f"no column {name!r} (columns: {', '.join(columns)})", where=table.name, fix=fix)
