"""The command that opens the test patients."""

from typing import TYPE_CHECKING, Any

from gansweep.cli.console import below, emit, noted_if_stopped
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption
from gansweep.options import ConfirmOptions

if TYPE_CHECKING:
    from gansweep.report.fitting import FittingTable

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
    with noted_if_stopped("the same command goes on from here"):
        result = run(opened, swept_trainables(space, opened.info), options)
    said = "\n\n".join(filter(None, [_best_rivals(result), result["answer"]]))
    emit(result, below(_as_table(result), said), as_json=as_json)


def _as_table(result: dict[str, Any]) -> "FittingTable":
    from gansweep.report.fitting import Column, FittingTable

    measures = ("accuracy", "sensitivity", "specificity")
    trial = Column("trial")
    arm = Column("arm", prose=True)
    scores = {name: Column(name, right=True) for name in measures}
    difference = Column("difference in accuracy", right=True)
    over_rival = Column("over the best rival", right=True)
    verdict = Column("verdict")
    absent = Column("absent", prose=True)
    for leader in result["leaders"]:
        for name, measured in leader["arms"].items():
            claims = leader["comparisons"].get(name) or leader.get("rivals", {}).get(name, {})
            claim = claims.get("accuracy")
            trial.cells.append(leader["trial_id"])
            arm.cells.append(name)
            for measure, column in scores.items():
                column.cells.append(_percent(*measured[measure]) if measure in measured else "-")
            difference.cells.append(_percent(claim["difference"], claim["low"], claim["high"], "+") if claim else "")
            rival = leader.get("over_rival", {}).get(name, {}).get("accuracy")
            over_rival.cells.append(_percent(rival["difference"], rival["low"], rival["high"], "+") if rival else "")
            verdict.cells.append(claim["verdict"] if claim else "")
            reasons = leader["absent"][name].items()
            absent.cells.append("; ".join(f"{measure}: {reason}" for measure, reason in reasons))
    against = [difference, over_rival] if any(over_rival.cells) else [difference]
    columns = [trial, arm, *scores.values(), *against, verdict]
    return FittingTable(
        [*columns, absent] if any(absent.cells) else columns,
        title=f"{result['patients']} test patients, {result['images']} images; percent with 95 % intervals, "
        f"differences in points; base: {result['base']}",
    )


def _best_rivals(result: dict[str, Any]) -> str:
    """Returns the rival that synthetic images had to beat in addition to the base; empty if there was none."""
    best = [(leader["trial_id"], leader.get("best_rival", {}).get("accuracy")) for leader in result["leaders"]]
    return "\n".join(f"best rival of trial {trial_id}: {rival}" for trial_id, rival in best if rival)


def _percent(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
