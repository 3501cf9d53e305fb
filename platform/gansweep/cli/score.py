"""The command that compares two sets of images: score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gansweep.cli.console import Ticker, emit
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json
from gansweep.config import ScoreOptions

if TYPE_CHECKING:
    from rich.table import Table

    from gansweep.scoring.values import MetricValue

__all__ = ["score"]

Images = Annotated[Path, typer.Argument(help="A cohort, or a folder that `gansweep ingest` could read.")]


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


def _table(found: "dict[str, MetricValue]") -> "Table":
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", "real", "fake", "remark", box=None)
    for name, metric in found.items():
        interval = "" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}"
        value = "-" if metric.value is None else f"{metric.value:.4g}"
        table.add_row(name, value, interval, str(metric.n_real), str(metric.n_fake), metric.reason or "")
    return table
