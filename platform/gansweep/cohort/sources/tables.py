"""Reads delimited text tables written by spreadsheets, hospitals and BIDS tools."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.readers.placeholders import placeholder_in
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Table", "column_name", "is_usual", "read_table", "require_column", "shown_columns"]

# Words in names of columns. Messages show no other names: without a header, the first line has a patient's cells.
_USUAL_NAMES = """
path paths file files filename filepath image images img picture name names label labels class classes target
diagnosis diagnostic dx group groups condition status disease category finding findings pathology type kind
patient patients subject subjects participant participants person case study studyid series scan exam session visit
animal lesion lesions volume slice frame id ids uid uids identifier number no nr mrn code key accession
split splits set subset fold folds partition part phase mask masks seg segmentation annotation paired pair
age sex gender race site centre center hospital scanner manufacturer modality view side plane position laterality
date time year month day birth weight height width size rows columns spacing x y z w h
score scores grade stage severity value values note notes comment comments remark remarks text report source
dataset url index row col column old new original unnamed diagnose klasse bild datei dateiname pfad befund gruppe
patientid imageid subjectid participantid caseid studyuid seriesuid imagename imagepath classname labelname
"""
_USUAL = frozenset(_USUAL_NAMES.split())

DOS_END = "\x1a"  # Ctrl-Z, with which DOS ends a text
_SEPARATOR = re.compile(r'"?sep=([^"\r\n]?)', re.IGNORECASE)  # Excel puts the line in quotes when it saves it again
_AS_TEXT = re.compile(r"""="(?P<formula>[^"]*)"|'(?P<typed>[\w.-]*\d)""")


@dataclass(frozen=True)
class Table:
    """Content of a table.

    Args:
        columns: column names, normalised by `column_name`.
        rows: stripped cells by column, "" for missing ones. Rows without any cell are left out.
        lines: line of the file on which each row ends.
    """

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]


def read_table(table: Path, delimiters: str = ",;\t|") -> Table:
    """Reads a table.

    Args:
        table: file in UTF-8, UTF-16 or UTF-32 whose first line has the column names. A first line `sep=;`, as written
            by Excel, specifies the delimiter.
        delimiters: candidates. The one is used that most lines have at least as often as the line of the column names.

    Raises:
        CohortError: there is no such file, it is not a text table, a row has more cells than there are columns, or two
            columns have the same name.
    """
    placeholder = placeholder_in(table)
    if placeholder:
        raise CohortError(placeholder, where=table.name, fix="download the table itself")
    rows: list[dict[str, str]] = []
    numbers: list[int] = []
    skipped = 0
    try:
        text = _decoded(table.read_bytes()).rstrip(DOS_END)
        lines = io.StringIO(text, newline="").readlines()
        delimiter = ""
        # Empty lines may precede the names, and Excel's own line names the delimiter.
        while lines:
            own = _SEPARATOR.match(lines[0])
            if lines[0].strip() and not own:
                break
            delimiter = own[1] if own else delimiter
            lines = lines[1:]
            skipped += 1
        delimiter = delimiter or _delimiter(lines, delimiters)
        # Strict, because otherwise an unclosed quote swallows the rest of the table as one cell.
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        columns = [column_name(name) for name in reader.fieldnames or []]
        reader.fieldnames = columns
        for row in reader:
            _refuse_more_cells(row, table, reader.line_num + skipped)
            cells = {key: _stripped(value) for key, value in row.items() if key}
            if any(cells.values()):
                rows.append(cells)
                numbers.append(reader.line_num + skipped)
    except FileNotFoundError:
        raise CohortError("no such file", where=str(table), fix="name the labels CSV with --labels") from None
    except UnicodeDecodeError:
        fix = 'save it as "CSV UTF-8"'
        raise CohortError("is in neither UTF-8 nor UTF-16", where=str(table), fix=fix) from None
    except csv.Error as error:
        line = (numbers[-1] if numbers else skipped) + 1
        what = f"the row that begins on line {line} is not readable ({error})"
        raise CohortError(what, where=table.name, fix="close its quotes, and write a quote inside as two") from None
    except OSError as error:
        raise CohortError(f"not a readable table ({error})", where=str(table)) from None
    twice = [name for name in columns if name and columns.count(name) > 1]
    if not any(columns):
        raise CohortError("is empty", where=table.name, fix="write the names of the columns on its first line")
    if twice:
        called = f"called {twice[0]!r}" if is_usual(twice[0]) else "of one name; is its first line a header?"
        raise CohortError(f"has two columns {called}", where=table.name, fix="keep one of them")
    return Table(columns, rows, numbers)


def _delimiter(lines: Sequence[str], candidates: str) -> str:
    """Returns what separates the cells: names of columns and remarks may contain the other candidates."""
    head = "".join(lines[:1])
    rows = [line for line in lines[1:21] if line.strip()]

    def rank(mark: str) -> tuple[bool, int, int]:
        count = head.count(mark)
        return count > 0, sum(row.count(mark) >= count for row in rows), count

    return max(candidates, key=rank)


def _refuse_more_cells(row: dict[str, str], table: Path, line: int) -> None:
    """Refuses a row with more cells than columns: an unquoted separator has cut one of its cells in two.

    The message does not show the cells, because they may name a patient.
    """
    # csv.DictReader collects such cells under the key None.
    more: list[str] = row.get(None, [])  # type: ignore[call-overload]
    if any(_stripped(cell) for cell in more):
        fix = "write a cell that contains the separator in quotes"
        raise CohortError(f"line {line} has more cells than there are columns", where=table.name, fix=fix)


def _decoded(data: bytes) -> str:
    """Decodes a file. Excel's "Unicode text" is UTF-16 with a byte order mark, which some tools omit.

    Raises:
        UnicodeDecodeError: the file has another encoding.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # begins like UTF-16
        return data.decode("utf-32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    # The first character of a header is ASCII, so one of its two bytes is 0.
    if len(data) > 3 and 0 in data[:2] and data[:2] != b"\0\0":
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
    return data.decode("utf-8-sig")


def _stripped(value: str | None) -> str:
    """Returns a cell without surrounding spaces, byte order marks and zero-width spaces.

    `="007"` and `'007` make Excel keep the zeros of a number. The cell is then 007.
    """
    cell = (value or "").strip().strip("\ufeff\u200b").strip()
    as_text = _AS_TEXT.fullmatch(cell)
    return (as_text["formula"] or as_text["typed"] or "").strip() if as_text else cell


def column_name(text: str | None) -> str:
    """Returns a column name in lower case, without surrounding spaces."""
    return _stripped(text).lower()


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
        raise CohortError(f"no column {name!r} ({shown_columns(columns)})", where=table.name, fix=fix)


def shown_columns(columns: Sequence[str]) -> str:
    """Returns the names of columns for a message, without those that may be cells: `columns: path, 2 others`."""
    names = [name for name in columns if name]
    usual = [name for name in names if is_usual(name)]
    others = len(names) - len(usual)
    if not usual:
        return f"its first line has {others} {'cell' if others == 1 else 'cells'}, and no usual name of a column"
    more = [f"{others} {'other' if others == 1 else 'others'}"] if others else []
    return f"columns: {', '.join(usual + more)}"


def is_usual(name: str) -> bool:
    """Returns whether a column's name consists of usual words and short numbers, so that it cannot be a cell."""
    words = set(re.findall(r"[^\W\d_]+", name.lower()))
    return bool(words) and words <= _USUAL and name.isascii() and not re.search(r"\d{4}", name)
