"""How a verb is run, and which one."""

from __future__ import annotations

from typing import Any

import typer

from gansweep.cli.console import log_as_notes, note, results_only
from gansweep.cli.help import WholeWordsCommand
from gansweep.cli.submissions import OTHERS

__all__ = ["Command", "SubmitCommand"]


class Command(WholeWordsCommand):
    """A verb whose stdout holds its result and nothing else."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb. Ctrl-C is an exit status, not an error: what can be resumed has been left so."""
        with results_only(), log_as_notes():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                note("interrupted")
                raise typer.Exit(130) from None


class SubmitCommand(Command):
    """`submit SPACE`, which is a sweep, or `submit VERB ...`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command that the first word names."""
        word = args[0] if args else ""
        if word == "sweep":
            return super().make_context(info_name, args[1:], parent, **extra)
        if word not in OTHERS:
            return super().make_context(info_name, args, parent, **extra)
        verbs = typer.Typer(rich_markup_mode=None)
        verbs.command(word, cls=Command)(OTHERS[word])
        return typer.main.get_command(verbs).make_context(f"{info_name} {word}", args[1:], parent, **extra)
