"""Commands that use a sweep's result: export, train, generate."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gansweep.cli.console import Ticker, emit, noted_if_stopped
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import (
    CohortOption,
    Json,
    OwnSpaceOption,
    SetOption,
    StoreArgument,
    SweptSpaceOption,
    parse_settings,
)
from gansweep.cli.stores import opened
from gansweep.options import Attribution, GenerateOptions, TrainOptions

__all__ = ["export", "generate", "train"]

AllowOption = Annotated[
    bool, typer.Option("--allow-memorised", help="Export a generator that copies training patients. Its card says so.")
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")]


@with_model_options
def export(
    store: StoreArgument,
    out: OutOption,
    attribution: Attribution,
    trial: Annotated[str | None, typer.Option(metavar="ID", help="A certain trial; default: the first ranked.")] = None,
    cohort: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the sweep's cohort is now.")] = None,
    space: SweptSpaceOption = None,
    allow_memorised: AllowOption = False,
    as_json: Json = False,
) -> None:
    """Write the best configuration, its generator, a MONAI bundle, the evidence and a model card.

    A generator that memorised training patients is refused. The samples nearest to a training image are shown beside
    it in the store's artifacts, not in the export.
    """
    from gansweep.export.best import export_best
    from gansweep.search.spaces import swept_trainables

    with opened(store) as found:
        made = export_best(
            found,
            out,
            swept_trainables(space, found.info),
            trial_id=trial,
            cohort=cohort,
            allow_memorised=allow_memorised,
            attribution=attribution,
        )
        files = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
        command = _next(made, cohort or found.info.cohort.path, space or found.info.space)
        emit(
            {"out": made, "files": files},
            f"{', '.join(files)} in {made}; next: {command}",
            as_json=as_json,
        )


@with_model_options
def generate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `gansweep export` or `train` wrote.")],
    n: Annotated[int, typer.Option("--n", help="How many images.")],
    out: OutOption,
    options: GenerateOptions,
    space: OwnSpaceOption = None,
    as_json: Json = False,
) -> None:
    """Draw synthetic images, with a labels.csv that `gansweep ingest` reads (npy is for your own code)."""
    from gansweep.export.generate import generate as run
    from gansweep.search.spaces import space_trainables

    made = run(folder, n, out, space_trainables(space), progress=Ticker(), **vars(options))
    document = {"out": made, "images": n, "format": options.format, "seed": options.seed}
    emit(document, f"{n} images in {made}", as_json=as_json)


@with_model_options
@noted_if_stopped("the same command goes on from here")
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="config.yaml of an export.")],
    cohort: CohortOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, or an interrupted training's.")],
    options: TrainOptions,
    settings: SetOption = None,
    space: OwnSpaceOption = None,
    as_json: Json = False,
) -> None:
    """Train one configuration to its full budget, and export the result. The same command goes on after Ctrl-C."""
    from gansweep.export.config_file import read_plan
    from gansweep.export.production import train_production
    from gansweep.search.spaces import space_trainables

    planned = read_plan(config).derive(parse_settings(settings))
    made = train_production(
        planned.config, cohort, out, space_trainables(space), options, planned.scoring, planned.origin
    )
    emit({"out": made}, f"trained; next: {_next(made, cohort, space)}", as_json=as_json)


def _next(made: Path, cohort: str | Path, space: str | None) -> str:
    """Returns the next command. It names the cohort if the generator needs real images, and a user's own space."""
    from gansweep.training.record import read_record

    real = ["--cohort", str(cohort)] if read_record(made).needs else []
    own = ["--space", space] if space and ":" in space else []
    return shlex.join(["gansweep", "generate", str(made), "--n", "100", "--out", "synthetic", *real, *own])
