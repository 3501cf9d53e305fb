"""Output of `sweep --dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.errors import counted
from gansweep.scoring.metrics.formatting import short

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gansweep.report.fitting import FittingTable
    from gansweep.search.dry_run import Cost, DryRun, Proposal

__all__ = ["as_document", "as_text"]

_REASONS = 5
_PROBE = "a few iterations of the first trial on this machine, without scoring"


def as_document(found: DryRun, space: str) -> dict[str, Any]:
    """Returns the dry run as plain values for JSON."""
    cost = found.cost
    return {
        "space": space,
        "experiment": found.experiment.model_dump(mode="json", by_alias=True),
        "parameters": [vars(parameter) for parameter in found.parameters],
        "proposals": [_proposal_document(item) for item in found.proposals],
        "refused": {"drawn": found.drawn, "reasons": found.refused},
        "footprint": vars(found.footprint),
        "resources": {key: found.resources[key] for key in ("CPU", "GPU") if key in found.resources},
        "cluster": found.cluster,
        "at_once": found.at_once,
        "fits": found.fits,
        "ended": found.ended,
        "left": found.left,
        "cost": {**vars(cost), "timing": vars(cost.timing)} if cost is not None else None,
    }


def _proposal_document(proposal: Proposal) -> dict[str, Any]:
    config = proposal.config
    return {**vars(proposal), "config": None if config is None else config.as_dict()}


def as_text(found: DryRun, space: str, storage: str) -> RenderableType:
    """Returns the dry run for the terminal.

    Args:
        found: preview of the sweep.
        space: the user's name for the space.
        storage: storage that was searched for sweeps, without credentials.
    """
    from rich.console import Group
    from rich.text import Text

    from gansweep.cli.spaces import space_table

    lines = [*_refusals(found), _room(found), *_cost(found, storage), "Nothing was written."]
    table = space_table(space, found.experiment, found.parameters)
    return Group(table, "", _trials(found), "", Text("\n".join(lines)))


def _trials(found: DryRun) -> FittingTable:
    from gansweep.report.fitting import Column, FittingTable

    rows = found.proposals
    trained = [item.config.family if item.config else f"refused: {item.refusal}" for item in rows]
    title = f"the first of {found.left} trials"
    if found.ended:
        title += f"; {found.ended} have ended"
    return FittingTable(
        [
            Column("trial", [item.trial for item in rows]),
            Column("by", [item.origin for item in rows], prose=True),
            Column("would train", trained, prose=True),
            Column("parameters", [_parameters_text(item) for item in rows], prose=True),
        ],
        title=title,
        notes=["--json has each whole configuration."],
    )


def _parameters_text(proposal: Proposal) -> str:
    return ", ".join(f"{name} {_brief(value)}" for name, value in proposal.parameters.items()) or "none is free"


def _refusals(found: DryRun) -> list[str]:
    count = sum(found.refused.values())
    if not count:
        return [f"Refused: none of {found.drawn} random proposals."]
    lines = [f"Refused: {count} of {found.drawn} random proposals, which the sweep would set aside."]
    shown = list(found.refused.items())[:_REASONS]
    lines += [f"  {counted(number, 'time')}: {reason}" for reason, number in shown]
    others = len(found.refused) - len(shown)
    if others:
        lines.append(f"  and {counted(others, 'other reason')}")
    return lines


def _room(found: DryRun) -> str:
    foot = found.footprint
    each = f"{foot.workers} x ({foot.cpus_per_worker:g} CPU + {foot.gpus_per_worker:g} GPU)"
    where = "the cluster" if found.cluster else "this machine (no Ray runs)"
    has = f"{found.resources.get('CPU', 0):g} CPUs and {found.resources.get('GPU', 0):g} GPUs"
    room = f" and room for {found.fits} now" * (found.fits < found.at_once)
    return f"Footprint: a trial needs {each}. {found.at_once} at once on {where}, which has {has}{room}."


def _cost(found: DryRun, storage: str) -> list[str]:
    if found.cost is None:
        what = f"no sweep of this space under {storage} has a trial that ended, and none could be timed here"
        return [f"Cost: not known; {what}."]
    return list(_known_cost(found, found.cost))


def _known_cost(found: DryRun, cost: Cost) -> list[str]:
    timing = cost.timing
    gpus = found.footprint.gpus
    a_trial = f"a trial {_duration(timing.seconds)}"
    if timing.trials:
        a_trial += f" ({_duration(timing.least)} to {_duration(timing.most)})"
    if gpus:
        a_trial += f", {short(timing.seconds * gpus / 3600)} GPU hours"
    whole = f"{counted(found.left, 'trial')} {_duration(3600 * cost.hours)}, {short(cost.gpu_hours)} GPU hours"
    source = f"{counted(timing.trials, 'trial')} of {timing.store}" if timing.trials else _PROBE
    lines = [f"Cost by {source}: {a_trial}; {whole}."]
    if timing.differences:
        lines.append(f"That sweep differed: {'; '.join(timing.differences)}.")
    if cost.budget:
        lines.append(f"{cost.budget} would end the sweep before.")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{short(seconds)} s"
    if seconds < 5400:
        return f"{short(seconds / 60)} min"
    return f"{short(seconds / 3600)} h"


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
