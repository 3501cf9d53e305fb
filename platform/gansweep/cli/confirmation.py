"""The command that opens the test patients."""

from typing import TYPE_CHECKING, Any

from gansweep.cli.console import below, emit, noted_if_stopped, stacked
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption
from gansweep.options import ConfirmOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.report.fitting import FittingTable

__all__ = ["confirm"]

_UNITS = "percent with 95 % intervals, differences in points"


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
    said = "\n\n".join(filter(None, [*_notes(result), result["answer"]]))
    tables = filter(None, [_as_table(result), _segmentation_table(result)])
    emit(result, below(stacked(*tables), said), as_json=as_json)


def _as_table(result: dict[str, Any]) -> "FittingTable":
    judged = {leader["trial_id"]: leader for leader in result["leaders"]}
    title = f"{result['patients']} test patients, {result['images']} images"
    return _table_of(judged, ("accuracy", "sensitivity", "specificity"), f"{title}; {_UNITS}; base: {result['base']}")


def _segmentation_table(result: dict[str, Any]) -> "FittingTable | None":
    """Returns the arms of segmenters; None if none were judged."""
    leaders = result["leaders"]
    judged = {leader["trial_id"]: leader["segmentation"] for leader in leaders if leader.get("segmentation")}
    if not judged:
        return None
    numbers = {f"{one['patients']} test patients, {one['images']} images with a lesion" for one in judged.values()}
    title = f"Segmenters: {' or '.join(sorted(numbers))}"
    return _table_of(judged, ("dice",), f"{title}; {_UNITS}; base: {result['base']}")


def _table_of(judged: dict[str, Any], measures: tuple[str, ...], title: str) -> "FittingTable":
    """Returns one row per leader and arm. The difference and the verdict are about the first measure."""
    from gansweep.report.fitting import Column, FittingTable

    first = measures[0]
    trial = Column("trial")
    arm = Column("arm", prose=True)
    scores = {name: Column(name, right=True) for name in measures}
    difference = Column(f"difference in {first}", right=True)
    over_rival = Column("over the best rival", right=True)
    verdict = Column("verdict")
    absent = Column("absent", prose=True)
    for trial_id, found in judged.items():
        for name, measured in found["arms"].items():
            claims = found["comparisons"].get(name) or found.get("rivals", {}).get(name, {})
            claim = claims.get(first)
            trial.cells.append(trial_id)
            arm.cells.append(name)
            for measure, column in scores.items():
                column.cells.append(_percent(*measured[measure]) if measure in measured else "-")
            difference.cells.append(_percent(claim["difference"], claim["low"], claim["high"], "+z") if claim else "")
            rival = found.get("over_rival", {}).get(name, {}).get(first)
            over_rival.cells.append(_percent(rival["difference"], rival["low"], rival["high"], "+z") if rival else "")
            verdict.cells.append(claim["verdict"] if claim else "")
            reasons = found["absent"][name].items()
            absent.cells.append("; ".join(f"{measure}: {reason}" for measure, reason in reasons))
    against = [difference, over_rival] if any(over_rival.cells) else [difference]
    columns = [trial, arm, *scores.values(), *against, verdict]
    return FittingTable([*columns, absent] if any(absent.cells) else columns, title=title)


def _notes(result: dict[str, Any]) -> "Iterator[str]":
    """Yields the rivals that synthetic images had to beat, and why segmenters were not judged."""
    rivals: list[str] = []
    reasons: list[str] = []
    for leader in result["leaders"]:
        trial = f"trial {leader['trial_id']}"
        segmentation = leader.get("segmentation") or {}
        for metric, of, judged in (("accuracy", "", leader), ("dice", ", by dice", segmentation)):
            best = judged.get("best_rival", {}).get(metric)
            if best:
                rivals.append(f"best rival of {trial}{of}: {best}")
        if leader.get("no_segmentation"):
            reasons.append(f"no verdict on dice for {trial}: {leader['no_segmentation']}")
    yield "\n".join(rivals)
    yield "\n".join(reasons)


def _percent(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
