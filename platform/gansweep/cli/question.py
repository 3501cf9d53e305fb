"""The command `answer`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gansweep.cli.console import below, emit, note, noted_if_stopped
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json
from gansweep.options import AnswerOptions

if TYPE_CHECKING:
    from gansweep.report.fitting import FittingTable
    from gansweep.scoring.power import Rivals

__all__ = ["answer"]


@with_model_options
@noted_if_stopped("the same command goes on from here")
def answer(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder that `gansweep ingest` wrote.")],
    options: AnswerOptions,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The report.")] = Path("answer.html"),
    as_json: Json = False,
) -> None:
    """Ask the whole question: can these patients show a gain, what gives one for nothing, and do synthetic images?

    Rivals, sweep, repeats, confirmation and report, in one command that goes on where it was stopped. The test patients
    are opened once.
    """
    from gansweep.files import output_file
    from gansweep.report.html import write_report
    from gansweep.report.question_page import write_question_page
    from gansweep.search.question import answer_question, sweep_name
    from gansweep.store.filesystem import Files

    sweep = Files(options.storage).child(sweep_name(options, cohort))
    for folder in (cohort, sweep.local):
        output_file(out, "HTML page", reads=folder, example="answer.html")
    found = answer_question(cohort, options)
    if found.store is not None:
        written = write_report(found.store, out)
    else:
        written = write_question_page(found, cohort.resolve().name, out)
    for left_out in found.skipped:
        note(f"left out: {left_out}")
    note(f"report in {written}")
    document = {
        "answer": found.answer,
        "state": found.state,
        "power": asdict(found.power),
        "rivals": found.rivals.scores,
        "skipped": found.skipped,
        "store": found.store.label if found.store is not None else None,
        "report": written,
    }
    emit(document, below(_as_table(found.rivals), found.answer), as_json=as_json)


def _as_table(rivals: "Rivals") -> "FittingTable":
    from gansweep.report.fitting import Column, FittingTable

    measures = list(rivals.scores["real"])
    columns = [Column("arm", prose=True), *(Column(f"{measure}, %", right=True) for measure in measures)]
    for name, scores in rivals.scores.items():
        columns[0].cells.append(name)
        for column, measure in zip(columns[1:], measures, strict=True):
            column.cells.append(f"{100 * scores[measure]:.1f}")
    return FittingTable(columns, title="what needs no generator, on validation patients")
