"""Commands that list what can be searched and set: trainables, settings."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gansweep.cli.console import emit
from gansweep.cli.options import Json
from gansweep.errors import unknown_name

if TYPE_CHECKING:
    from gansweep.cli.setting_keys import Setting
    from gansweep.experiment import Experiment
    from gansweep.report.fitting import FittingTable
    from gansweep.search.space_listing import Parameter

__all__ = ["settings", "space_table", "trainables"]

Space = Annotated[
    str | None, typer.Argument(metavar="[SPACE]", help="A name from the list of spaces, or file.py:function.")
]


def trainables(space: Space = None, as_json: Json = False) -> None:
    """List what can be searched, and every GAN by the field's name; with SPACE, its parameters and their ranges."""
    if space is not None:
        _show_space(space, as_json=as_json)
        return
    from dataclasses import fields

    from rich.console import Group

    from gansweep.report.fitting import Column, FittingTable
    from gansweep.search.spaces import known_spaces
    from trainables import TRAINABLES, VARIANTS

    names: dict[str, Any] = {field.name: sorted(getattr(TRAINABLES, field.name)) for field in fields(TRAINABLES)}
    names["spaces"] = sorted(known_spaces())
    kinds = FittingTable(
        [Column("kind", list(names)), Column("names", [", ".join(known) for known in names.values()], prose=True)],
    )
    variants = FittingTable(
        [
            Column("variant", list(VARIANTS)),
            Column("settings that make it", [_as_options(item.settings) for item in VARIANTS.values()], prose=True),
            Column("source", [item.source for item in VARIANTS.values()], prose=True),
        ],
    )
    emit(
        {**names, "variants": {name: item.settings for name, item in VARIANTS.items()}},
        Group(kinds, "", variants, "\nA space's parameters: gansweep trainables SPACE. Every key: gansweep settings."),
        as_json=as_json,
    )


def settings(
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="With its architecture's keys.")] = None,
    as_json: Json = False,
) -> None:
    """List every key of --set with its default, what it may be, and what it means."""
    from gansweep.cli.setting_keys import setting_keys
    from gansweep.report.fitting import Column, FittingTable
    from trainables import TRAINABLES

    if family is not None and family not in TRAINABLES.gans:
        raise unknown_name("family", family, TRAINABLES.gans, where="--family")
    keys = setting_keys(TRAINABLES, family)
    table = FittingTable(
        [
            Column("key", [item.key for item in keys]),
            Column("default", [item.default for item in keys], prose=True),
            Column("may be", [item.allowed for item in keys], prose=True),
            Column("meaning", [item.meaning for item in keys], prose=True),
        ],
        notes=_settings_notes(keys, family),
    )
    emit([vars(item) for item in keys], table, as_json=as_json)


def _settings_notes(keys: "list[Setting]", family: str | None) -> list[str]:
    fixed = "A space replaces defaults of trial keys; gansweep trainables SPACE shows its own."
    more = "" if family else " --family FAMILY adds the keys of its architecture."
    return [f"{len(keys)} keys. {fixed}{more}"]


def _show_space(reference: str, *, as_json: bool) -> None:
    from gansweep.search.space_listing import space_parameters
    from gansweep.search.spaces import load_space

    experiment = load_space(reference)
    parameters = space_parameters(experiment)
    emit(
        {
            "space": reference,
            "parameters": [vars(parameter) for parameter in parameters],
            "experiment": experiment.model_dump(mode="json", by_alias=True),
        },
        space_table(reference, experiment, parameters),
        as_json=as_json,
    )


def space_table(reference: str, experiment: "Experiment", parameters: "list[Parameter]") -> "FittingTable":
    """Returns a space's parameters with their ranges, and its objectives below."""
    from gansweep.experiment import sampler_text
    from gansweep.report.fitting import Column, FittingTable
    from gansweep.store.feasibility import constraints_text

    goals = ", ".join(f"{item.name} ({item.direction})" for item in experiment.objectives)
    scheduler = experiment.scheduler
    stops = f"{scheduler.kind} on {scheduler.metric}" if scheduler.kind != "none" else "none"
    bounds = f" Constraints: {constraints_text(experiment.constraints)}." if experiment.constraints else ""
    if experiment.prune:
        bounds += f" Pruned unless {constraints_text(experiment.prune)}."
    return FittingTable(
        [
            Column("parameter", [item.name for item in parameters]),
            Column("range", [item.values for item in parameters], prose=True),
            Column("first trial", ["" if item.first is None else str(item.first) for item in parameters]),
            Column("exists", [_exists(item.present) for item in parameters]),
        ],
        title=f"{reference}: {len(parameters)} parameters",
        notes=[
            f"Objectives: {goals}. Sampler: {sampler_text(experiment.sampler)}. Scheduler: {stops}.{bounds}",
            f"Reports per trial: {experiment.reports}.",
            "Found by asking the space for random proposals. --set fixes any key, searched or not: gansweep settings.",
        ],
    )


def _exists(present: float) -> str:
    return "always" if present == 1 else f"in {100 * present:.0f} % of proposals"


def _as_options(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())
