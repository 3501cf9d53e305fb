"""The verb that opens the test patients."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gansweep.cli.console import emit, note
from gansweep.cli.options import GpusOption, Json, StoreArgument, SweptSpaceOption, WorkersOption, swept_trainables

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["confirm"]


def confirm(
    store: StoreArgument,
    cohort: Annotated[Path | None, typer.Option(metavar="DIR", help="The sweep's cohort, if it has moved.")] = None,
    space: SweptSpaceOption = None,
    leaders: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 1,
    gan_seeds: Annotated[int, typer.Option(min=3, help="Fresh trainings of each.")] = 3,
    detector_seeds: Annotated[int, typer.Option(min=1, help="Detectors per training and arm.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The first fresh seed.")] = 10_000,
    workers: WorkersOption = 1,
    gpus_per_worker: GpusOption = 0.0,
    reason: Annotated[str, typer.Option(help="Why the test patients are opened again.")] = "",
    as_json: Json = False,
) -> None:
    """Retrain the leaders with fresh seeds and score them, once, on the test patients."""
    from gansweep.search.confirm import ConfirmSettings
    from gansweep.search.confirm import confirm as run
    from gansweep.search.sweep import cache_folder
    from gansweep.store.store import Store

    opened = Store.open(store)
    result = run(
        opened,
        swept_trainables(space, opened.info.space),
        cohort=cohort,
        cache=cache_folder(),
        settings=ConfirmSettings(leaders=leaders, gan_seeds=gan_seeds, detector_seeds=detector_seeds, seed=seed),
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        reason=reason,
        say=note,
    )
    emit(result, _as_table(result), as_json=as_json)


def _as_table(result: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(
        title=f"{result['patients']} test patients, {result['images']} images; 95 % intervals; base: {result['base']}"
    )
    for column in (
        "trial",
        "arm",
        "accuracy",
        "sensitivity",
        "specificity",
        "difference in accuracy",
        "verdict",
        "absent",
    ):
        table.add_column(column)
    for leader in result["leaders"]:
        for arm, scores in leader["arms"].items():
            claim = leader["comparisons"].get(arm, {}).get("accuracy")
            table.add_row(
                leader["trial_id"],
                arm,
                *(
                    _percent(*scores[metric]) if metric in scores else "-"
                    for metric in ("accuracy", "sensitivity", "specificity")
                ),
                *(_claimed(claim) if claim else ("", "")),
                "; ".join(f"{metric}: {reason}" for metric, reason in leader["absent"][arm].items()),
            )
    return table


def _claimed(claim: dict[str, Any]) -> tuple[str, str]:
    return _percent(claim["difference"], claim["low"], claim["high"], sign="+"), claim["verdict"]


def _percent(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
