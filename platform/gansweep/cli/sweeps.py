"""Commands that search: sweep here, submit to a cluster."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gansweep.cli.console import emit, note
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import AddressOption, Json
from gansweep.options import SweepOptions, option_of

if TYPE_CHECKING:
    from gansweep.search.sweep_file import SweepRequest

__all__ = ["submit", "sweep"]

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
    from gansweep.report.status import sweep_status
    from gansweep.search.sweep import sweep as run

    asked = _asked(space, given, "sweep")
    if dry_run:
        _show(asked, as_json=as_json)
        return
    try:
        with asked.blamed():
            store = run(asked.experiment, asked.options, space=asked.space)
    except KeyboardInterrupt:
        note("stopped; the same command with --resume goes on from here")
        raise
    found = sweep_status(store)
    counts = ", ".join(f"{count} {status}" for status, count in found.counts.items())
    ended = f"{found.ended} of {found.asked} trials ended: {counts}"
    emit(
        {"store": store.label, "trials": found.counts},
        f"{ended}; next: gansweep leaderboard {shlex.quote(store.label)}",
        as_json=as_json,
    )
    if not found.counts.keys() & {"completed", "stopped"}:
        most = next(iter(found.failures), "")
        note("no trial ended with a generator" + (f"; most often {most}" if most else ""))
        raise typer.Exit(1)


@with_model_options
def submit(
    space: Space,
    given: Given,
    address: AddressOption = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stream the log and hand on the exit status.")] = True,
    as_json: Json = False,
) -> None:
    """Run the same sweep as a job on a Ray cluster. Only code is uploaded; cohort and storage must be reachable there.

    Relative paths are taken from the current directory, as places that every node of the cluster sees.
    """
    from gansweep.cluster.submit import follow, submit_sweep
    from gansweep.store.filesystem import without_credentials

    # A wrong name or value is better told now than by a job's log.
    asked = _asked(space, given, "submit")
    options = asked.options
    with asked.blamed():
        job = submit_sweep(asked.space, options, address=address)
    note(f"submitted {job}")
    store = shlex.quote(f"{without_credentials(options.storage_from_anywhere).rstrip('/')}/{options.name}")
    there = shlex.join([f"--address={address}", job] if address else [job])
    again = "the same submit with --resume goes on from there"
    watch = f"watch it: gansweep status {store}, or ray job logs --follow {there}"
    if not wait:
        emit({"job": job, "status": "SUBMITTED"}, f"{job} runs; {watch}", as_json=as_json)
        return
    try:
        end = follow(job, sys.stderr.write, address=address)
    except KeyboardInterrupt:
        note(f"{job} goes on; {watch}; ray job stop {there} ends it, {again}")
        raise
    succeeded = end.status == "SUCCEEDED"
    then = f"next: gansweep leaderboard {store}" if succeeded else again
    emit({"job": job, **vars(end)}, f"{job} {end.status.lower()}; {then}", as_json=as_json)
    if not succeeded:
        raise typer.Exit(end.exit_code or 1)


def _show(asked: "SweepRequest", *, as_json: bool) -> None:
    from gansweep.cli.dry_run import as_document, as_text
    from gansweep.search.dry_run import dry_run
    from gansweep.store.filesystem import without_credentials

    with asked.blamed():
        found = dry_run(asked.experiment, asked.options, space=asked.space)
    shown = as_text(found, asked.space, without_credentials(asked.options.storage))
    emit(as_document(found, asked.space), shown, as_json=as_json)


def _asked(space: str, given: dict[str, Any], command: str) -> "SweepRequest":
    from gansweep.search.sweep_file import is_sweep_file, sweep_request

    for name, field in SweepOptions.model_fields.items():
        if field.is_required() and name not in given and not is_sweep_file(space):
            raise typer.TyperException(f"Missing option '{option_of(name, field)}'")
    return sweep_request(space, given, where=command)
