"""The command that opens the test patients."""

from typing import TYPE_CHECKING, Any

from gansweep.cli.console import below, emit, noted_if_stopped, stacked
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption
from gansweep.errors import counted
from gansweep.options import ConfirmOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gansweep.report.fitting import Column, FittingTable

__all__ = ["confirm"]

_UNITS = "percent with 95 % intervals, differences in points"


@with_model_options
@noted_if_stopped("the same command goes on from here")
def confirm(
    store: StoreArgument, options: ConfirmOptions, space: SweptSpaceOption = None, as_json: Json = False
) -> None:
    """Retrain the leaders with fresh seeds and score them, once, on the test patients."""
    from gansweep.search.confirm import confirm as run
    from gansweep.search.confirmed_answer import aim_of
    from gansweep.search.spaces import swept_trainables
    from gansweep.store.store import Store

    opened = Store.open(store)
    result = run(opened, swept_trainables(space, opened.info), options)
    aim = aim_of(result, opened.info.objectives)
    said = "\n\n".join(filter(None, [*_notes(result, aim), result["answer"]]))
    tables = filter(None, [_as_table(result, aim), _segmentation_table(result)])
    emit(result, below(stacked(*tables), said), as_json=as_json)


def _as_table(result: dict[str, Any], aim: str) -> "FittingTable":
    """Returns the arms of detectors, with verdicts on the metric that the answer is about and on accuracy."""
    from gansweep.search.confirmed_answer import USUAL

    judged = {leader["trial_id"]: leader for leader in result["leaders"]}
    title = f"{counted(result['patients'], 'test patient')}, {counted(result['images'], 'image')}"
    measures = dict.fromkeys((aim, USUAL, "sensitivity", "specificity"))
    compared = tuple(dict.fromkeys((aim, USUAL)))
    return _table_of(judged, tuple(measures), f"{title}; {_UNITS}; base: {result['base']}", compared)


def _segmentation_table(result: dict[str, Any]) -> "FittingTable | None":
    """Returns the arms of segmenters; None if none were judged."""
    leaders = result["leaders"]
    judged = {leader["trial_id"]: leader["segmentation"] for leader in leaders if leader.get("segmentation")}
    if not judged:
        return None
    numbers = {
        f"{counted(one['patients'], 'test patient')}, {counted(one['images'], 'image')} with a lesion"
        for one in judged.values()
    }
    title = f"Segmenters: {' or '.join(sorted(numbers))}"
    return _table_of(judged, ("dice",), f"{title}; {_UNITS}; base: {result['base']}", ("dice",))


def _table_of(
    judged: dict[str, Any], measures: "Sequence[str]", title: str, compared: "Sequence[str]"
) -> "FittingTable":
    """Returns one row per leader and arm.

    Args:
        judged: judged arms by trial.
        measures: metrics whose values are shown.
        title: title of the table.
        compared: metrics whose differences and verdicts are shown.
    """
    from gansweep.report.fitting import Column, FittingTable

    trial = Column("trial")
    arm = Column("arm", prose=True)
    scores = {name: Column(name, right=True) for name in measures}
    absent = Column("absent", prose=True)
    for trial_id, found in judged.items():
        for name, measured in found["arms"].items():
            trial.cells.append(trial_id)
            arm.cells.append(name)
            for measure, column in scores.items():
                column.cells.append(_percent(*measured[measure]) if measure in measured else "-")
            reasons = found["absent"][name].items()
            absent.cells.append("; ".join(f"{measure}: {reason}" for measure, reason in reasons))
    columns = [trial, arm, *scores.values()]
    for metric in compared:
        columns += _verdicts(judged, metric, beside=len(compared) > 1)
    return FittingTable([*columns, absent] if any(absent.cells) else columns, title=title)


def _verdicts(judged: dict[str, Any], metric: str, *, beside: bool) -> "Iterator[Column]":
    """Yields the columns of what is said of one metric. They name it if there are others beside them."""
    from gansweep.report.fitting import Column

    difference = Column(f"difference in {metric}", right=True)
    over_rival = Column(f"over the best rival in {metric}" if beside else "over the best rival", right=True)
    verdict = Column(f"verdict on {metric}" if beside else "verdict")
    for found in judged.values():
        for name in found["arms"]:
            claims = found["comparisons"].get(name) or found.get("rivals", {}).get(name, {})
            claim = claims.get(metric)
            difference.cells.append(_percent(claim["difference"], claim["low"], claim["high"], "+z") if claim else "")
            rival = found.get("over_rival", {}).get(name, {}).get(metric)
            over_rival.cells.append(_percent(rival["difference"], rival["low"], rival["high"], "+z") if rival else "")
            verdict.cells.append(claim["verdict"] if claim else "")
    yield difference
    if any(over_rival.cells):
        yield over_rival
    yield verdict


def _notes(result: dict[str, Any], aim: str) -> "Iterator[str]":
    """Yields the rivals that synthetic images had to beat, and why segmenters were not judged."""
    from gansweep.search.confirmed_answer import USUAL

    rivals: list[str] = []
    reasons: list[str] = []
    for leader in result["leaders"]:
        trial = f"trial {leader['trial_id']}"
        segmentation = leader.get("segmentation") or {}
        for metric, judged in {aim: leader, USUAL: leader, "dice": segmentation}.items():
            best = judged.get("best_rival", {}).get(metric)
            if best:
                of = "" if aim == metric == USUAL else f", by {metric}"
                rivals.append(f"best rival of {trial}{of}: {best}")
        if leader.get("no_segmentation"):
            reasons.append(f"no verdict on dice for {trial}: {leader['no_segmentation']}")
    yield "\n".join(rivals)
    yield "\n".join(reasons)


def _percent(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
