"""The command that retrains the leaders."""

import typer

from gansweep.cli.console import emit, note, noted_if_stopped
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption
from gansweep.options import RepeatOptions

__all__ = ["repeat"]


@with_model_options
@noted_if_stopped("the same command trains what is missing")
def repeat(store: StoreArgument, options: RepeatOptions, space: SweptSpaceOption = None, as_json: Json = False) -> None:
    """Train the leaders again with fresh seeds, scored on validation patients: is the first place more than luck?

    Exit status 1 if a training failed; the same command trains it again.
    """
    from gansweep.report.leaderboard import as_document, as_table, leaderboard
    from gansweep.search.repeat import repeat as run
    from gansweep.search.spaces import swept_trainables
    from gansweep.store.store import Store

    opened = Store.open(store)
    made = run(opened, swept_trainables(space, opened.info), options)
    rows = leaderboard(opened)
    emit({"trained": made, "leaderboard": as_document(rows)}, as_table(rows, opened.info, top=10), as_json=as_json)
    trials = opened.latest_trials()
    if failed := int((trials["trial_id"].isin(made) & (trials["status"] == "failed")).sum()):
        note(f"{failed} of {len(made)} trainings failed; the same command trains them again")
        raise typer.Exit(1)
