"""The verb that trains the leaders again."""

from pathlib import Path
from typing import Annotated

import typer

from gansweep.cli.console import emit, note
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption, swept_trainables

__all__ = ["repeat"]


def repeat(
    store: StoreArgument,
    leaders: Annotated[int, typer.Option(min=1, help="How many configurations, the best first.")] = 2,
    repeats: Annotated[int, typer.Option(min=2, help="Fresh trainings of each, earlier ones included.")] = 3,
    cohort: Annotated[Path | None, typer.Option(metavar="DIR", help="The sweep's cohort, if it has moved.")] = None,
    space: SweptSpaceOption = None,
    seed: Annotated[int, typer.Option(min=0, help="The first fresh seed.")] = 20_000,
    workers: Annotated[
        int | None, typer.Option("--workers-per-trial", min=1, help="Ray Train workers; default: the sweep's.")
    ] = None,
    gpus_per_worker: Annotated[float | None, typer.Option(min=0.0, help="GPUs each; default: the sweep's.")] = None,
    as_json: Json = False,
) -> None:
    """Train the leaders again with fresh seeds, scored on validation patients: is the first place more than luck?

    Exit status 1 if a training failed; the same command trains it again.
    """
    from gansweep.report.leaderboard import as_document, as_table, leaderboard
    from gansweep.search.repeat import repeat as run
    from gansweep.search.sweep import cache_folder
    from gansweep.store.store import Store

    opened = Store.open(store)
    try:
        made = run(
            opened,
            swept_trainables(space, opened.info.space),
            cohort=cohort,
            cache=cache_folder(),
            leaders=leaders,
            repeats=repeats,
            seed=seed,
            workers=workers,
            gpus_per_worker=gpus_per_worker,
            say=note,
        )
    except KeyboardInterrupt:
        note("stopped; the same command trains what is missing")
        raise
    rows = leaderboard(opened)
    emit({"trained": made, "leaderboard": as_document(rows)}, as_table(rows, opened.info, top=10), as_json=as_json)
    trials = opened.latest_trials()
    if failed := int((trials["trial_id"].isin(made) & (trials["status"] == "failed")).sum()):
        note(f"{failed} of {len(made)} trainings failed; the same command trains them again")
        raise typer.Exit(1)
