"""The verb that searches."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gansweep.cli.console import emit, note, noted_if_stopped
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json
from gansweep.command_line import option_of
from gansweep.options import SweepOptions

if TYPE_CHECKING:
    from gansweep.search.sweep_file import SweepRequest

__all__ = ["Given", "Space", "asked_sweep", "sweep"]

Space = Annotated[
    str,
    typer.Argument(
        metavar="SPACE", help="A name of `gansweep trainables`, file.py:function, a sweep.yaml, or STORE/sweep.json."
    ),
]
Given = Annotated[dict[str, Any], SweepOptions]
"""The options that the user typed; a file may hold the others."""


@with_model_options
def sweep(
    space: Space,
    given: Given,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first trials, what fits and what it costs; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search a space: train many GANs, score each on validation patients, keep every number.

    A file has the space and options under their names; what is given beside it stands above it. Exit status 1 if no
    trial ended with a generator.
    """
    if dry_run:
        _show(asked_sweep(space, given, "sweep"), as_json=as_json)
    else:
        _search(space, given, as_json=as_json)


@noted_if_stopped("the same command with --resume goes on from here")
def _search(space: str, given: dict[str, Any], *, as_json: bool) -> None:
    from gansweep.report.status import sweep_status
    from gansweep.scoring.metrics.formatting import of_asked
    from gansweep.search.sweep import sweep as run

    asked = asked_sweep(space, given, "sweep")
    with asked.blamed():
        store = run(asked.experiment, asked.options, space=asked.space)
    found = sweep_status(store)
    counts = ", ".join(f"{count} {status}" for status, count in found.counts.items())
    ended = f"{of_asked(found.ended, found.asked)} ended: {counts}"
    emit(
        {"store": store.label, "trials": found.counts},
        f"{ended}; next: gansweep leaderboard {shlex.quote(store.label)}",
        as_json=as_json,
    )
    if not found.counts.keys() & {"completed", "stopped"}:
        most = next(iter(found.failures), "")
        note("no trial ended with a generator" + (f"; most often {most}" if most else ""))
        raise typer.Exit(1)


def _show(asked: "SweepRequest", *, as_json: bool) -> None:
    from gansweep.cli.dry_run import as_document, as_text
    from gansweep.search.dry_run import dry_run
    from gansweep.store.uris import without_credentials

    with asked.blamed():
        found = dry_run(asked.experiment, asked.options, space=asked.space)
    shown = as_text(found, asked.space, without_credentials(asked.options.storage))
    emit(as_document(found, asked.space), shown, as_json=as_json)


def asked_sweep(space: str, given: dict[str, Any], command: str) -> "SweepRequest":
    """The sweep that a command line asks for.

    Args:
        space: its argument.
        given: the options that the user typed.
        command: the verb, for messages.

    Raises:
        GansweepError: no such space, or a wrong option.
    """
    from gansweep.search.sweep_file import is_sweep_file, sweep_request

    for name, field in SweepOptions.model_fields.items():
        if field.is_required() and name not in given and not is_sweep_file(space):
            raise typer.TyperException(f"Missing option '{option_of(name, field)}'")
    return sweep_request(space, given, where=command)
