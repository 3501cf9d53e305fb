"""Tables for terminals of any width. Columns that do not fit are omitted or stacked, and nothing is ever truncated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gansweep.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

__all__ = ["Column", "FittingTable", "chosen"]

_GAP = 2  # spaces between columns
_LEAST_PROSE = 24
"""Minimum width of a column of sentences. If it were narrower, almost every word would have its own line."""


@dataclass
class Column:
    """A column of a table.

    Args:
        header: heading, wrapped between words if it is wider than the cells.
        cells: one text per row.
        right: whether cells are right-aligned, for numbers.
        spare: whether the column may be omitted on a narrow screen.
        prose: whether its cells are sentences, which may be wrapped between words.
    """

    header: str
    cells: list[str] = field(default_factory=list)
    right: bool = False
    spare: bool = False
    prose: bool = False

    @property
    def least(self) -> int:
        """Width below which something would be truncated."""
        from rich.cells import cell_len

        longest = max(map(cell_len, [*self.header.split(), *(self.words if self.prose else self.cells)]), default=0)
        return max(longest, min(_LEAST_PROSE, self.widest)) if self.prose else longest

    @property
    def words(self) -> list[str]:
        """All words of the cells."""
        return " ".join(self.cells).split()

    @property
    def named(self) -> int:
        """Width of the heading on one line."""
        from rich.cells import cell_len

        return cell_len(self.header)

    @property
    def widest(self) -> int:
        """Width at which nothing is wrapped."""
        from rich.cells import cell_len

        return max(map(cell_len, [self.header, *self.cells]), default=0)


@dataclass
class FittingTable:
    """A table that fits the terminal on which it is printed.

    If not all columns fit, spare ones are omitted from the right and named below. If the others still do not fit, each
    row becomes a block of lines. Numbers, names and options stay whole at any width.

    Args:
        columns: columns in order.
        title: line above the table.
        notes: lines below the table, wrapped between words.
        bold: indices of highlighted rows.
        hint: text after the names of omitted columns.
    """

    columns: list[Column]
    title: str = ""
    notes: list[str] = field(default_factory=list)
    bold: frozenset[int] = frozenset()
    hint: str = ""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return max((len(column.cells) for column in self.columns), default=0)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields what rich prints."""
        from rich.text import Text

        width = options.max_width
        if self.title:
            yield Text(self.title, style="italic")
        shown = _fitting(self.columns, width)
        if _least(shown) > width:
            yield from self._blocks(width)
        else:
            yield self._table(shown, width)
        left_out = [column.header for column in self.columns if column not in shown and _least(shown) <= width]
        if left_out:
            yield Text(f"Left out for want of width: {', '.join(left_out)}.{self.hint}", style="dim")
        for line in self.notes:
            yield Text(line, style="dim")

    def _table(self, columns: Sequence[Column], width: int) -> Table:
        from rich.table import Table

        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
        for column, wide in zip(columns, _widths(columns, width), strict=True):
            table.add_column(column.header, justify="right" if column.right else "left", width=wide, overflow="fold")
        for number in range(self.rows):
            style = "bold" if number in self.bold else None
            table.add_row(*(column.cells[number] for column in columns), style=style)
        return table

    def _blocks(self, width: int) -> Iterator[RenderableType]:
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        named = max(column.named for column in self.columns)
        aligned = all(named + _GAP + cell_len(word) <= width for column in self.columns for word in column.words)
        for number in range(self.rows):
            style = "bold" if number in self.bold else ""
            filled = [(column.header, column.cells[number]) for column in self.columns if column.cells[number]]
            if not aligned:
                yield from (Text(f"{header}: {cell}", style=style) for header, cell in filled)
                yield Text()
                continue
            block = Table.grid(padding=(0, _GAP, 0, 0))
            block.add_column(style="dim", width=named)
            block.add_column(overflow="fold", style=style)
            for header, cell in filled:
                block.add_row(header, cell)
            yield block
            yield Text()


def chosen(columns: Sequence[Column], names: Sequence[str] | None) -> list[Column]:
    """Returns the columns that a user names, in that order; None: all.

    Args:
        columns: available columns.
        names: headings.

    Raises:
        ConfigError: no column has one of the names.
    """
    if names is None:
        return list(columns)
    known = {column.header: column for column in columns}
    for name in names:
        if name not in known:
            raise unknown_name("column", name, known, where="--columns")
    return [Column(name, known[name].cells, right=known[name].right, prose=known[name].prose) for name in names]


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Returns the columns without those spare ones, from the right, that do not fit."""
    shown = list(columns)
    while _least(shown) > width:
        spare = [place for place, column in enumerate(shown) if column.spare]
        if not spare:
            break
        del shown[spare[-1]]
    return shown


def _least(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Returns each column's width. Remaining space goes to columns that would otherwise be wrapped, prose last."""
    widths = [column.least for column in columns]
    left = width - sum(widths) - _GAP * (len(columns) - 1)
    for place in sorted(range(len(columns)), key=lambda place: columns[place].prose):
        more = min(left, columns[place].widest - widths[place])
        widths[place] += more
        left -= more
    return widths
