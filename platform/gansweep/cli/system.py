"""The command that checks the installation: doctor."""

from typing import Annotated

import typer

from gansweep.cli.console import emit
from gansweep.cli.options import AddressOption, CpusOption, GpusOption, Json, WorkersOption

__all__ = ["doctor"]


def doctor(
    storage: Annotated[str | None, typer.Option(metavar="URI", help="Try writing to this storage.")] = None,
    cohort: Annotated[str | None, typer.Option(metavar="DIR", help="Look whether this cohort has room here.")] = None,
    address: AddressOption = None,
    workers_per_trial: WorkersOption = 1,
    gpus_per_worker: GpusOption = 0.0,
    cpus_per_worker: CpusOption = 1,
    as_json: Json = False,
) -> None:
    """Say what is installed, what is reachable, and what a sweep would use. Exit status 1 if something is wrong."""
    from gansweep.cluster.doctor import examine
    from gansweep.report.fitting import Column, FittingTable
    from gansweep.search.cluster import Footprint

    footprint = Footprint(workers_per_trial, cpus_per_worker, gpus_per_worker)
    findings = examine(footprint, storage=storage, address=address, cohort=cohort)
    table = FittingTable(
        [
            Column("what", [finding.name for finding in findings]),
            Column("verdict", [finding.verdict for finding in findings]),
            Column("found", [finding.detail for finding in findings], prose=True),
        ],
        bold=frozenset(number for number, finding in enumerate(findings) if finding.verdict != "ok"),
    )
    emit(findings, table, as_json=as_json)
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)
