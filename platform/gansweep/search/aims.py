"""Checks what a search aims at: scores that trials report, and values that they can reach."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from gansweep.config import COPIES
from gansweep.errors import ConfigError, unknown_name
from gansweep.scoring.memorisation.figures import LEAST_PATIENTS
from gansweep.scoring.metrics.registry import METRICS
from gansweep.store.feasibility import COSTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.config import Objective
    from gansweep.constraint import Constraint
    from gansweep.contracts import ImageSpec

__all__ = ["check_constraints", "check_objectives", "check_score", "check_values"]

_VARIANTS = ("_difference", "_real_only", "_matched", "_floor")
"""Endings of what is reported beside a metric."""


def check_score(name: str, *, where: str, also: Sequence[str] = ()) -> str:
    """Returns the metric of a score.

    Args:
        name: name of the score: a metric, or what is reported beside it.
        where: key with the name.
        also: scores that are no metrics.

    Raises:
        ConfigError: no trial reports it.
    """
    base = name
    for suffix in _VARIANTS:
        base = base.removesuffix(suffix)
    known = [*also, *(name for name, metric in METRICS.items() if metric.trial)]
    if base not in known:
        raise unknown_name("score", name, known, where=where)
    return base


def check_objectives(objectives: Sequence[Objective], spec: ImageSpec) -> None:
    """Checks that trials report all objectives. Without one of them, a trial tells the sampler nothing.

    Args:
        objectives: of the experiment.
        spec: images of the cohort.

    Raises:
        ConfigError: there is none, one is given twice, no trial reports it, or it needs masks and there are none.
    """
    if not objectives:
        raise ConfigError("there is no objective", where="objectives", fix="leave them out for fid and accuracy")
    names = [objective.name for objective in objectives]
    for name in names:
        base = check_score(name, where="objectives")
        if names.count(name) > 1:
            raise ConfigError(f"{name} is given twice", where="objectives")
        if METRICS[base].takes == "masks" and not spec.mask_channels:
            what = f"{name} needs masks, and the cohort has none"
            raise ConfigError(what, where="objectives", fix="choose other objectives, or ingest the masks too")


def check_constraints(constraints: Sequence[Constraint], *, gpus: float, patients: int) -> None:
    """Checks that trials report what constraints bound. Otherwise no trial would keep them.

    Args:
        constraints: of the experiment.
        gpus: number of GPUs per worker.
        patients: number of training patients.

    Raises:
        ConfigError: no trial reports such a score, the bound is out of its range or contradicts another, a trial on
            CPUs has no GPU memory, or there are too few training patients to find copies of.
    """
    for constraint in constraints:
        check_score(constraint.score, where="constraints", also=(*COSTS, COPIES))
        bound = constraint.at_most if constraint.at_most is not None else constraint.at_least
        if bound is not None:
            check_values({constraint.score: bound}, where="constraints")
        if constraint.score == COPIES and patients < LEAST_PATIENTS:
            what = f"{constraint} needs {LEAST_PATIENTS} training patients, and the cohort has {patients}"
            raise ConfigError(what, where="constraints", fix="leave the constraint out")
        if constraint.score == "peak_memory_gib" and not gpus:
            what = f"{constraint} bounds the memory of a GPU, and trials have none"
            raise ConfigError(what, where="constraints", fix="give --gpus-per-worker, or leave the constraint out")
    for one, other in itertools.permutations(constraints, 2):
        if one.score != other.score or one.at_most is None or other.at_least is None:
            continue
        if one.at_most < other.at_least:
            raise ConfigError(f"no trial can keep both {one} and {other}", where="constraints", fix="leave one out")


def check_values(wanted: Mapping[str, float], *, where: str) -> None:
    """Checks that scores can have the wanted values.

    Args:
        wanted: values by score.
        where: option with them.

    Raises:
        ConfigError: a value is out of the metric's range.
    """
    for name, value in wanted.items():
        low, high = METRICS[name].range if name in METRICS else (float("-inf"), float("inf"))
        if not low <= value <= high:
            limits = f"{low:g} to {high:g}" if high < float("inf") else f"{low:g} or more"
            raise ConfigError(f"{name} = {value:g} is out of its range, {limits}", where=where)
