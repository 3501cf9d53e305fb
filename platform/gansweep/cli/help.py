"""Help of commands, in which options, names and examples are never broken across lines."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WholeWordsCommand", "example_lines"]

_INDENT = 2
_LEAST_HELP = 30  # columns for the descriptions of options


class _WholeWords(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    """Writes lists of options without breaking an option at its hyphens or a metavar at its commas."""

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Writes a list of terms and descriptions. The description of a long term is on the lines below it."""
        first = min(max((len(term) for term, _ in rows), default=0), col_max) + col_spacing
        wide = max(self.width - self.current_indent - first, _LEAST_HELP)
        for term, text in rows:
            lines = textwrap.wrap(text, wide, break_on_hyphens=False, break_long_words=False)
            begin = " " * self.current_indent + term
            if lines and len(term) + col_spacing <= first:
                begin += " " * (first - len(term)) + lines.pop(0)
            self.write(f"{begin}\n")
            for line in lines:
                self.write(f"{' ' * (self.current_indent + first)}{line}\n")


class _Context(typer.Context):
    formatter_class = _WholeWords


class WholeWordsCommand(TyperCommand):
    """A command whose help is plain text, which no terminal truncates."""

    context_class = _Context

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # rich's panels truncate the names of options and their values if there are too few columns.
        self.rich_markup_mode = None


def example_lines(command: str, width: int = 76) -> str:
    """Returns an example for the help, wrapped between words so that it can be pasted.

    Args:
        command: the command on one line.
        width: maximum length of a line.
    """
    lines = textwrap.wrap(f"Example: {command}", width, break_on_hyphens=False, break_long_words=False)
    # Click rewraps paragraphs unless they begin with \b.
    return "\b\n" + " \\\n    ".join(lines)
