"""The command that simulates searches on finished sweeps."""

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from gansweep.cli.console import Ticker, emit
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json
from gansweep.cli.stores import opened
from gansweep.options import ReplayOptions

if TYPE_CHECKING:
    from gansweep.report.fitting import FittingTable
    from gansweep.search.replay import Estimate, Replay

__all__ = ["replay"]

Stores = Annotated[list[str], typer.Argument(metavar="STORE...", help="Sweeps without early stopping.")]


@with_model_options
def replay(stores: Stores, options: ReplayOptions, as_json: Json = False) -> None:
    """Simulate samplers and early stopping on the trials of finished sweeps: what would each have cost?

    Nothing is trained. Only trials that ran to their end count: of one that was stopped nobody knows the rest.
    """
    from rich.console import Group

    from gansweep.search.replay import replay_stores

    with ExitStack() as whole:
        found = replay_stores([whole.enter_context(opened(store)) for store in stores], options, Ticker())
        tables: list[FittingTable | str] = []
        for one in found:
            tables += [_table(one), ""]
        emit([vars(one) for one in found], Group(*tables, _LEGEND), as_json=as_json)


_LEGEND = (
    "Medians over the seeds with 95 % intervals. Front: hypervolume of the completed trials when the budget is spent, "
    "each objective as the fraction of the trials that are worse. Best: the best detector then, likewise. Cost: to get "
    "as far as random search does with the budget, as a fraction of it. Good stopped: of the best tenth of the "
    "detectors, how many were stopped early."
)


def _table(found: "Replay") -> "FittingTable":
    from gansweep.report.fitting import Column, FittingTable
    from gansweep.scoring.metrics.formatting import short

    rows = found.methods
    left_out = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
    return FittingTable(
        [
            Column("sampler, scheduler", [row.method for row in rows]),
            Column("front", [_text(row.hypervolume) for row in rows], right=True),
            Column("best", [_text(row.best) for row in rows], right=True),
            Column("cost of front", [_text(row.front_cost) for row in rows], right=True),
            Column("cost of best", [_text(row.best_cost) for row in rows], right=True),
            Column("got there", [f"{row.reached[0]}, {row.reached[1]}" for row in rows], right=True),
            Column("good stopped", [_share(row.good_stopped) for row in rows], right=True),
        ],
        title=f"{found.store}: {found.trials} trials, {found.seeds} seeds, budget {short(found.budget_seconds, 4)} s",
        notes=[f"Left out: {left_out}."] if left_out else [],
    )


def _text(estimate: "Estimate") -> str:
    value, low, high = (f"{part:.2f}" if math.isfinite(part) else "never" for part in vars(estimate).values())
    return f"{value} ({low} to {high})"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "-"
