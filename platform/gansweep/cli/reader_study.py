"""Commands of a reader study: `reader-study` makes one, and `reader-study score` scores the answers."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gansweep.cli.console import Ticker, below, emit
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json
from gansweep.options import ReaderStudyOptions

if TYPE_CHECKING:
    from gansweep.report.fitting import FittingTable
    from gansweep.report.reader_scores import Proportion, StudyScore

__all__ = ["EXAMPLES", "MakesByDefault", "make", "score"]

EXAMPLES = {
    "make": "gansweep reader-study cohort synthetic --out study",
    "score": "gansweep reader-study score study/key.json answers-one.json answers-two.json",
}


class MakesByDefault(TyperGroup):
    """`reader-study REAL FAKE` is `reader-study make REAL FAKE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Inserts `make` if no command is named."""
        named = {*self.commands, *ctx.help_option_names}
        return list(super().parse_args(ctx, args if not args or args[0] in named else ["make", *args]))


@with_model_options
def make(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="A cohort, or a folder that `ingest` could read.")],
    fake: Annotated[Path, typer.Argument(metavar="FAKE", help="Synthetic images, as `generate` writes them.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    options: ReaderStudyOptions,
    as_json: Json = False,
) -> None:
    """Make a blinded page of mixed real and synthetic images for human readers, and a key to score their answers.

    The page is one file without network, for the keyboard and for phones. It keeps answers across reloads, and saves
    them as a file. Give readers DIR/for-readers/study.html, and keep DIR/key.json to yourself. The page shows patients'
    images: keep it where the scans may be.
    """
    from gansweep.report.reader_study import make_study

    made = make_study(real, fake, out, options, progress=Ticker())
    score_it = f"gansweep reader-study score {shlex.quote(str(made.key))} ANSWERS.json"
    emit(
        asdict(made), f"{made.images} images in {made.page}, their key in {made.key}; next: {score_it}", as_json=as_json
    )


def score(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The study's key.json.")],
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS...", help="What the page saved for each reader.")],
    as_json: Json = False,
) -> None:
    """Score readers' answers: accuracy against guessing, per class, and agreement between readers.

    Half of the images are real, so guessing scores 50 %. Intervals are exact (Clopper-Pearson, 95 %), over images.
    """
    from gansweep.report.reader_scores import score_study

    found = score_study(key, answers)
    readers = [{**asdict(reader), "verdict": reader.verdict} for reader in found.readers]
    agreement = asdict(found.agreement) if found.agreement else None
    emit({"readers": readers, "agreement": agreement}, below(_table(found), _agreement(found)), as_json=as_json)


def _table(found: "StudyScore") -> "FittingTable":
    from gansweep.report.fitting import Column, FittingTable

    readers = found.readers
    classes = list(readers[0].classes) if readers else []
    return FittingTable(
        [
            Column("reader", [reader.reader for reader in readers]),
            Column("right", [f"{reader.accuracy.right} of {reader.accuracy.n}" for reader in readers], right=True),
            Column("accuracy", [_percent(reader.accuracy) for reader in readers], right=True),
            Column("p", [f"{reader.p:.2g}" for reader in readers], right=True),
            Column("real called real", [_percent(reader.real) for reader in readers], right=True),
            Column("synthetic called synthetic", [_percent(reader.synthetic) for reader in readers], right=True),
            *(Column(name, [_percent(reader.classes[name]) for reader in readers], right=True) for name in classes),
            Column("unanswered", [str(reader.unanswered) for reader in readers], right=True),
            Column("verdict", [reader.verdict for reader in readers], prose=True),
        ],
        title="percent with exact 95 % intervals over images; guessing scores 50; p: against guessing",
    )


def _percent(share: "Proportion") -> str:
    if not share.n:
        return "-"
    return f"{100 * share.value:.1f} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _agreement(found: "StudyScore") -> str:
    agreement = found.agreement
    if agreement is None:
        return "Agreement needs two readers."
    if agreement.value is None:
        return f"{agreement.kind} is not defined: {agreement.reason}."
    return (
        f"{agreement.kind} between {len(found.readers)} readers: {agreement.value:.2f} "
        f"({agreement.low:.2f} to {agreement.high:.2f}) on {agreement.n} images; 0 is agreement by chance."
    )
