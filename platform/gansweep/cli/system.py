"""Verbs about the installation: doctor, trainables."""

from typing import Annotated

import typer

from gansweep.cli.console import emit
from gansweep.cli.options import AddressOption, CpusOption, GpusOption, Json, WorkersOption

__all__ = ["doctor", "trainables"]

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    storage: Annotated[str | None, typer.Option(metavar="URI", help="Try writing to this storage.")] = None,
    address: AddressOption = None,
    workers_per_trial: WorkersOption = 1,
    gpus_per_worker: GpusOption = 0.0,
    cpus_per_worker: CpusOption = 1,
    as_json: Json = False,
) -> None:
    """Say what is installed, what is reachable, and what a sweep would use. Exit status 1 if something is wrong."""
    from rich.table import Table
    from rich.text import Text

    from gansweep.cluster.doctor import examine
    from gansweep.search.cluster import Footprint

    footprint = Footprint(workers_per_trial, cpus_per_worker, gpus_per_worker)
    findings = examine(footprint, storage=storage, address=address)
    table = Table("what", "verdict", "found", box=None)
    for finding in findings:
        table.add_row(finding.name, Text(finding.verdict, style=_COLOURS[finding.verdict]), finding.detail)
    emit(findings, table, as_json=as_json)
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)


def trainables(as_json: Json = False) -> None:
    """List what can be searched: families, losses, penalties, augmentations, spaces and the rest."""
    from dataclasses import fields

    from rich.table import Table

    from gansweep.search.spaces import known_spaces
    from trainables import TRAINABLES

    names = {field.name: sorted(getattr(TRAINABLES, field.name)) for field in fields(TRAINABLES)}
    names["spaces"] = sorted(known_spaces())
    table = Table("kind", "names", box=None)
    for kind, known in names.items():
        table.add_row(kind, ", ".join(known))
    emit(names, table, as_json=as_json)
