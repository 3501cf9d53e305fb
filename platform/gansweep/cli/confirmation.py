"""The verb that opens the test patients."""

from typing import TYPE_CHECKING, Any

from gansweep.cli.console import below, emit
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption
from gansweep.config import ConfirmOptions

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["confirm"]


@with_model_options
def confirm(
    store: StoreArgument, options: ConfirmOptions, space: SweptSpaceOption = None, as_json: Json = False
) -> None:
    """Retrain the leaders with fresh seeds and score them, once, on the test patients."""
    from gansweep.search.confirm import confirm as run
    from gansweep.search.spaces import swept_trainables
    from gansweep.store.store import Store

    opened = Store.open(store)
    result = run(opened, swept_trainables(space, opened.info), options)
    emit(result, below(_as_table(result), result["answer"]), as_json=as_json)


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
