"""The command that takes a leader's choices back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gansweep.cli.console import emit, note, noted_if_stopped
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, StoreArgument, SweptSpaceOption
from gansweep.options import AblateOptions

if TYPE_CHECKING:
    from gansweep.report.fitting import FittingTable

__all__ = ["ablate"]


@with_model_options
@noted_if_stopped("the same command goes on from here")
def ablate(
    store: StoreArgument,
    options: AblateOptions,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.html", help="Write the picture there.")] = None,
    space: SweptSpaceOption = None,
    as_json: Json = False,
) -> None:
    """Take a leader's choices back one at a time, each retrained with fresh seeds: what was each worth?

    Exit status 1 if a training failed; the same command trains it again.
    """
    from gansweep.files import output_file, write_atomically
    from gansweep.report.ablation_figure import ablation_figure
    from gansweep.search.ablate import ablate as run
    from gansweep.search.spaces import swept_trainables
    from gansweep.store.store import Store

    opened = Store.open(store)
    target = None if out is None else output_file(out, "HTML page", reads=opened.local, example="ablation.html")
    result = run(opened, swept_trainables(space, opened.info), options)
    figure = ablation_figure(result)
    if target is not None and figure is not None:
        page: str = figure.to_html(include_plotlyjs=True, full_html=True)
        write_atomically(target, page.encode())
        note(f"picture: {out}")
    emit(result, _as_table(result), as_json=as_json)
    if result["failed"]:
        note(f"{len(result['failed'])} trainings failed ({result['failed'][0]}); the same command trains them again")
        raise typer.Exit(1)


def _as_table(result: dict[str, Any]) -> "FittingTable":
    from gansweep.report.fitting import Column, FittingTable
    from gansweep.report.formatting import value_text

    measures = list(dict.fromkeys(measure for row in result["choices"] for measure in row["worth"]))
    names = ("choice", "ours", "theirs")
    texts = {name: Column(name, prose=name != "choice") for name in names}
    found = {measure: Column(measure, right=True) for measure in measures}
    remarks = Column("remark", prose=True)
    for row in result["choices"]:
        for name, column in texts.items():
            column.cells.append(row[name] if name == "choice" else value_text(row[name]))
        for measure, column in found.items():
            column.cells.append(_worth(measure, row["worth"].get(measure)))
        diverged = f"{row['diverged']} of {len(result['seeds'])} diverged" if row["diverged"] else ""
        remarks.cells.append(f"cannot be taken back alone: {row['refused']}" if row["refused"] else diverged)
    columns = [*texts.values(), *found.values()]
    return FittingTable(
        [*columns, remarks] if any(remarks.cells) else columns,
        title=f"what the choices of trial {result['trial']} are worth against trial {result['against']}: means over "
        f"{len(result['seeds'])} seeds with 95 % intervals, paired; p corrected for the choices",
    )


def _worth(measure: str, one: dict[str, float] | None) -> str:
    from gansweep.scoring.metrics.formatting import is_proportion

    if one is None:
        return "-"
    factor = 100 if is_proportion(measure) else 1
    value, low, high = (f"{factor * one[name]:+z.1f}" for name in ("difference", "low", "high"))
    return f"{value} ({low} to {high}), p {one['p']:.2f}"
