"""Finds a command and runs it."""

from __future__ import annotations

from typing import Any

import typer

from gansweep.cli.console import log_as_notes, note, results_only
from gansweep.cli.help import WholeWordsCommand
from gansweep.cli.submissions import OTHERS

__all__ = ["Command", "SubmitCommand"]


class Command(WholeWordsCommand):
    """A command that prints its result to stdout, and nothing else."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. After Ctrl-C it returns an exit status, because what can be resumed is in order."""
        with results_only(), log_as_notes():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                note("interrupted")
                raise typer.Exit(130) from None


class SubmitCommand(Command):
    """`submit SPACE`, which submits a sweep, or `submit COMMAND ...`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Returns the context of the command that the first word names."""
        word = args[0] if args else ""
        if word == "sweep":
            return super().make_context(info_name, args[1:], parent, **extra)
        if word not in OTHERS:
            return super().make_context(info_name, args, parent, **extra)
        verbs = typer.Typer(rich_markup_mode=None)
        verbs.command(word, cls=Command)(OTHERS[word])
        return typer.main.get_command(verbs).make_context(f"{info_name} {word}", args[1:], parent, **extra)
