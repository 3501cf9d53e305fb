"""Verbs that search: sweep here, submit to a cluster."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gansweep.cli.console import emit, note
from gansweep.cli.options import (
    AddressOption,
    CohortOption,
    CpusOption,
    GpusOption,
    Json,
    SeedOption,
    SetOption,
    WorkersOption,
    parse_settings,
)

if TYPE_CHECKING:
    from gansweep.experiment import Experiment

__all__ = ["experiment_of", "submit", "sweep"]


def _checked_name(name: str) -> str:
    from gansweep.store.store import check_name

    check_name(name)
    return name


Space = Annotated[str, typer.Argument(metavar="SPACE", help="A name of `gansweep trainables`, or file.py:function.")]
Storage = Annotated[str, typer.Option("--storage", metavar="URI", help="A folder, or s3://bucket/path.")]
Name = Annotated[str, typer.Option("--name", callback=_checked_name, help="The sweep's store is <storage>/<name>.")]
Trials = Annotated[int, typer.Option("--trials", min=1, help="Trials in all, resumed ones included.")]
Concurrent = Annotated[int | None, typer.Option("--concurrent", min=1, help="Trials at once; default: what fits.")]
Sampler = Annotated[Literal["tpe", "random", "nsga2"] | None, typer.Option("--sampler", help="Overrides the space's.")]
Scheduler = Annotated[Literal["asha", "none"] | None, typer.Option("--scheduler", help="Overrides the space's.")]
WaitForNodes = Annotated[
    float, typer.Option("--wait-for-nodes", min=0, metavar="S", help="Seconds an autoscaling cluster gets to grow.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the sweep of that name.")]


def sweep(
    space: Space,
    cohort: CohortOption,
    storage: Storage,
    name: Name,
    trials: Trials,
    workers_per_trial: WorkersOption = 1,
    gpus_per_worker: GpusOption = 0.0,
    cpus_per_worker: CpusOption = 1,
    concurrent: Concurrent = None,
    sampler: Sampler = None,
    scheduler: Scheduler = None,
    settings: SetOption = None,
    seed: SeedOption = 0,
    resume: Resume = False,
    wait_for_nodes: WaitForNodes = 0.0,
    as_json: Json = False,
) -> None:
    """Search a space: train many GANs, score each on validation patients, keep every number.

    Exit status 1 if no trial ended with a generator.
    """
    from gansweep.report.status import sweep_status
    from gansweep.search.sweep import sweep as run

    try:
        store = run(
            experiment_of(space, settings, sampler, scheduler),
            cohort=cohort,
            storage=storage,
            name=name,
            trials=trials,
            space=space,
            workers_per_trial=workers_per_trial,
            gpus_per_worker=gpus_per_worker,
            cpus_per_worker=cpus_per_worker,
            concurrent=concurrent,
            seed=seed,
            resume=resume,
            wait_for_nodes_s=wait_for_nodes,
            say=note,
        )
    except KeyboardInterrupt:
        note("stopped; the same command with --resume goes on from here")
        raise
    found = sweep_status(store)
    ended = ", ".join(f"{count} {status}" for status, count in found.counts.items())
    emit(
        {"store": store.label, "trials": found.counts},
        f"{ended}; next: gansweep leaderboard {shlex.quote(store.label)}",
        as_json=as_json,
    )
    if not found.counts.keys() & {"completed", "stopped"}:
        most = next(iter(found.failures), "")
        note("no trial ended with a generator" + (f"; most often {most}" if most else ""))
        raise typer.Exit(1)


def submit(
    space: Space,
    cohort: CohortOption,
    storage: Storage,
    name: Name,
    trials: Trials,
    workers_per_trial: WorkersOption = 1,
    gpus_per_worker: GpusOption = 0.0,
    cpus_per_worker: CpusOption = 1,
    concurrent: Concurrent = None,
    sampler: Sampler = None,
    scheduler: Scheduler = None,
    settings: SetOption = None,
    seed: SeedOption = 0,
    resume: Resume = False,
    wait_for_nodes: WaitForNodes = 0.0,
    address: AddressOption = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stream the log and hand on the exit status.")] = True,
    as_json: Json = False,
) -> None:
    """Run the same sweep as a job on a Ray cluster. Only code is uploaded; cohort and storage must be reachable there.

    Relative paths are taken from the current directory, as places that every node of the cluster sees.
    """
    from gansweep.cluster.submit import follow, submit_sweep
    from gansweep.store.files import without_credentials

    # A wrong name or value is better told now than by a job's log.
    experiment_of(space, settings, sampler, scheduler)
    chosen = {
        "--cohort": cohort.absolute(),
        "--storage": storage if "://" in storage else Path(storage).absolute(),
        "--name": name,
        "--trials": trials,
        "--workers-per-trial": workers_per_trial,
        "--gpus-per-worker": gpus_per_worker,
        "--cpus-per-worker": cpus_per_worker,
        "--concurrent": concurrent,
        "--sampler": sampler,
        "--scheduler": scheduler,
        "--seed": seed,
        "--wait-for-nodes": wait_for_nodes,
    }
    words = [f"{option}={value}" for option, value in chosen.items() if value is not None]
    words += [f"--set={_from_here(pair)}" for pair in settings or ()] + (["--resume"] if resume else [])
    job = submit_sweep(space, words, address=address)
    note(f"submitted {job}")
    store = shlex.quote(f"{without_credentials(str(chosen['--storage'])).rstrip('/')}/{name}")
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


def experiment_of(space: str, settings: list[str] | None, sampler: str | None, scheduler: str | None) -> "Experiment":
    """The experiment `space` names, with what the command line changes."""
    from gansweep.search.spaces import load_space

    chosen: dict[str, Any] = {"sampler": sampler, "scheduler.kind": scheduler}
    return load_space(space).with_settings(
        parse_settings([_from_here(pair) for pair in settings or ()])
        | {key: value for key, value in chosen.items() if value is not None}
    )


def _from_here(pair: str) -> str:
    """A KEY=VALUE with the path in it, if it is one, made absolute."""
    (key, value), *_ = parse_settings([pair]).items()
    if key != "scoring.features" or not isinstance(value, str) or "://" in value:
        return pair
    # Quoted as YAML: a path may hold what YAML reads otherwise.
    return f"{key}={json.dumps(str(Path(value).absolute()), ensure_ascii=False)}"
