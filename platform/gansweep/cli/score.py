"""The command that compares two sets of images: score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gansweep.cli.console import Ticker, emit
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json
from gansweep.options import ScoreOptions

if TYPE_CHECKING:
    from gansweep.report.fitting import FittingTable
    from gansweep.scoring.values import MetricValue

__all__ = ["score"]

Images = Annotated[
    Path, typer.Argument(help="A cohort, a folder that `gansweep ingest` could read, or one of images without labels.")
]


@with_model_options
def score(real: Images, fake: Images, options: ScoreOptions, as_json: Json = False) -> None:
    """Compute every metric between two sets of images, with intervals and the real-against-real floor.

    Compare a distance's _matched with its _floor: both use the same number of images. The distance itself uses more
    images and is smaller.

    Of a cohort the training and validation images are used; its test patients stay unseen. Memorisation is judged by
    REAL's validation patients, or with --training by all of REAL that is not among it.
    """
    from gansweep.scoring.compare import compare

    found = compare(real, fake, options, progress=Ticker())
    emit({name: metric.as_dict() for name, metric in found.items()}, _table(found), as_json=as_json)


def _table(found: "dict[str, MetricValue]") -> "FittingTable":
    from gansweep.report.fitting import Column, FittingTable
    from gansweep.scoring.metrics.formatting import plain

    measured = {name: metric for name, metric in found.items() if metric.value is not None}
    intervals = [
        "" if item.low is None or item.high is None else f"{plain(item.low, 4)} to {plain(item.high, 4)}"
        for item in measured.values()
    ]
    return FittingTable(
        [
            Column("metric", list(measured)),
            Column("value", [plain(item.value or 0.0, 4) for item in measured.values()], right=True),
            Column("95 % interval", intervals, right=True),
            Column("real", [str(item.n_real) for item in measured.values()], right=True, spare=True),
            Column("fake", [str(item.n_fake) for item in measured.values()], right=True, spare=True),
            Column("remark", [item.reason for item in measured.values()], prose=True, spare=True),
        ],
        notes=_not_measured(found),
    )


def _not_measured(found: "dict[str, MetricValue]") -> list[str]:
    """One line per reason, instead of a row per metric."""
    absent: dict[str, list[str]] = {}
    for name, metric in found.items():
        if metric.value is None:
            absent.setdefault(metric.reason, []).append(name)
    return [f"Not measured, {reason}: {', '.join(names)}." for reason, names in absent.items()]
