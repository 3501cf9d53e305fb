"""Commands as jobs on a cluster: `submit` for a sweep, and `submit repeat`, `submit confirm`, `submit train`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gansweep.cli.console import emit, note
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import (
    CohortOption,
    Json,
    OwnSpaceOption,
    SetOption,
    StoreArgument,
    SweptSpaceOption,
)
from gansweep.cli.sweeps import Given, Space, asked_sweep
from gansweep.command_line import as_words
from gansweep.options import ConfirmOptions, JobOptions, RepeatOptions, TrainOptions

if TYPE_CHECKING:
    from gansweep.cluster.submit import JobEnd

__all__ = ["OTHERS", "confirm", "repeat", "submit", "train"]


@with_model_options
def submit(
    space: Space,
    given: Given,
    job: JobOptions,
    copy_cohort: Annotated[
        bool, typer.Option("--copy-cohort/--no-copy-cohort", help="Put a cohort that is here into the storage, once.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Run the same sweep as a job on a Ray cluster. The code is uploaded; the storage must be reachable there.

    A cohort that is here is put into the storage, from where each node fetches it. Other paths are taken from the
    current directory, as places that every node of the cluster sees. `submit repeat STORE`, `submit confirm STORE` and
    `submit train CONFIG` run these commands there, with their own options.
    """
    from gansweep.cluster.submit import submit_sweep
    from gansweep.store.uris import without_credentials

    # Names and values are checked here, so that the user need not look for an error in the job's log.
    asked = asked_sweep(space, given, "submit")
    options = asked.options
    with asked.blamed():
        name = submit_sweep(asked.space, options, address=job.address, copy_cohort=copy_cohort)
    store = shlex.quote(f"{without_credentials(options.storage_from_anywhere).rstrip('/')}/{options.name}")
    _accompany(
        name,
        job,
        watch=f"gansweep status {store}",
        then=f"gansweep leaderboard {store}",
        again="the same submit with --resume goes on from there",
        as_json=as_json,
    )


@with_model_options
def repeat(
    store: StoreArgument,
    options: RepeatOptions,
    job: JobOptions,
    space: SweptSpaceOption = None,
    as_json: Json = False,
) -> None:
    """Run `gansweep repeat` as a job on a Ray cluster. A space of your own is named, so that it travels."""
    _submit_retraining("repeat", store, options, job, space=space, then="leaderboard", as_json=as_json)


@with_model_options
def confirm(
    store: StoreArgument,
    options: ConfirmOptions,
    job: JobOptions,
    space: SweptSpaceOption = None,
    as_json: Json = False,
) -> None:
    """Run `gansweep confirm` as a job on a Ray cluster. A space of your own is named, so that it travels."""
    _submit_retraining("confirm", store, options, job, space=space, then="status", as_json=as_json)


@with_model_options
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="config.yaml of an export.")],
    cohort: CohortOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, or an interrupted training's.")],
    options: TrainOptions,
    job: JobOptions,
    settings: SetOption = None,
    space: OwnSpaceOption = None,
    as_json: Json = False,
) -> None:
    """Run `gansweep train` as a job on a Ray cluster; every node must see the cohort and the folder of the result."""
    from gansweep.cluster.submit import submit_training

    places = [f"--cohort={cohort.absolute()}", f"--out={out.absolute()}"]
    words = [*places, *as_words(options), *(f"--set={pair}" for pair in settings or ())]
    name = submit_training(config, words, space=space, address=job.address)
    _accompany(
        name,
        job,
        watch="",
        then=f"gansweep generate {shlex.quote(str(out.absolute()))} --n 100 --out synthetic",
        again="the same submit goes on from there",
        as_json=as_json,
    )


OTHERS = {"repeat": repeat, "confirm": confirm, "train": train}
"""Commands that `submit` runs in addition to a sweep, by the word after `submit`."""


def _submit_retraining(
    command: Literal["repeat", "confirm"],
    store: str,
    options: RepeatOptions | ConfirmOptions,
    job: JobOptions,
    *,
    space: str | None,
    then: str,
    as_json: bool,
) -> None:
    from gansweep.cluster.submit import submit_retraining
    from gansweep.store.uris import without_credentials

    name = submit_retraining(command, store, options, space=space, address=job.address)
    shown = without_credentials(store if "://" in store else str(Path(store).absolute()))
    place = shlex.quote(shown)
    _accompany(
        name,
        job,
        watch=f"gansweep status {place}",
        then=f"gansweep {then} {place}",
        again="the same submit goes on from there",
        as_json=as_json,
    )


def _accompany(name: str, job: JobOptions, *, watch: str, then: str, again: str, as_json: bool) -> None:
    """Streams the log of a job and exits with its status, or only explains how to watch it.

    Args:
        name: the job's id.
        job: where it runs, and whether to wait for it.
        watch: command that shows the job's progress, or "".
        then: the next command.
        again: what continues a job that ended too early.
        as_json: whether to print JSON.
    """
    from gansweep.cluster.submit import follow

    note(f"submitted {name}")
    there = shlex.join([f"--address={job.address}", name] if job.address else [name])
    watched = "watch it: " + ", or ".join(filter(None, (watch, f"ray job logs --follow {there}")))
    if not job.wait:
        emit({"job": name, "status": "SUBMITTED"}, f"{name} runs; {watched}", as_json=as_json)
        return
    try:
        end: JobEnd = follow(name, sys.stderr.write, address=job.address)
    except KeyboardInterrupt:
        note(f"{name} goes on; {watched}; ray job stop {there} ends it, {again}")
        raise
    succeeded = end.status == "SUCCEEDED"
    advice = f"next: {then}" if succeeded else again
    emit({"job": name, **vars(end)}, f"{name} {end.status.lower()}; {advice}", as_json=as_json)
    if not succeeded:
        raise typer.Exit(end.exit_code or 1)
