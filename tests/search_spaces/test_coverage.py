"""Every name and option that a trial can have is proposed by a shipped space, or left to the user for a reason."""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from gansweep.config import TrialConfig
from gansweep.search.parameters import DrawnTrial
from gansweep.search.spaces import known_spaces, load_space
from trainables import TRAINABLES

TRIALS = 300
REGISTRIES = {
    "family": TRAINABLES.gans,
    "loss.kind": TRAINABLES.losses,
    "penalty.kind": TRAINABLES.penalties,
    "augmentation.kind": TRAINABLES.augmentations,
    "conditioning": TRAINABLES.conditionings,
    "attention": TRAINABLES.attentions,
}
LEFT_TO_THE_USER = {
    ("precision", "tf32"): "depends on the machine, and gains time, which a budget of iterations does not see",
    ("precision", "bfloat16"): "depends on the machine, and gains time, which a budget of iterations does not see",
    ("execution", "eager"): "gains no time, and computes what captured steps compute",
    ("execution", "captured"): "depends on the machine, and computes what eager steps compute",
    ("images_on", "device"): "depends on the machine, and changes no number",
    ("images_on", "host"): "depends on the machine, and changes no number",
    ("architecture.domains", "auto"): "a space says whether it is for pairs, for fusion or for classes",
    ("architecture.scale", 2): "how much to restore is the question, not an answer",
    ("architecture.scale", 8): "how much to restore is the question, not an answer",
}
JUDGES = {"detectors", "segmenters"}
"""Registries whose names are settings of an experiment: one judge for all its trials."""


def options(model: type[BaseModel], prefix: str = "") -> dict[str, set[object]]:
    """Every dotted key of `model` that has a closed set of values."""
    found: dict[str, set[object]] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if get_origin(kind) is tuple:
            kind = get_args(kind)[0]
        if get_origin(kind) is Literal:
            found[f"{prefix}{name}"] = set(get_args(kind))
        elif kind is bool:
            found[f"{prefix}{name}"] = {False, True}
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= options(kind, f"{prefix}{name}.")
    return found


def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """`values` by dotted keys."""
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


@functools.cache
def proposed() -> dict[str, set[object]]:
    """For each dotted key the values that the shipped spaces give it, in a few hundred trials each."""
    found: dict[str, set[object]] = defaultdict(set)
    for name in known_spaces():
        experiment, draws = load_space(name), random.Random(0)
        for _ in range(TRIALS):
            for key, value in flat(experiment.config(DrawnTrial({}, draws)).as_dict()).items():
                found[key].update(value if isinstance(value, list) else [value])
    return found


def wanted() -> dict[str, set[object]]:
    """For each dotted key the values there are; of architectures those of any family."""
    found = {key: set(registry) for key, registry in REGISTRIES.items()} | options(TrialConfig)
    for family in TRAINABLES.gans.values():
        for key, values in options(family.Architecture, "architecture.").items():
            found.setdefault(key, set()).update(values)
    return found


@pytest.mark.parametrize("key", wanted())
def test_every_option_is_proposed_or_left_to_the_user(key):
    left = {value for name, value in LEFT_TO_THE_USER if name == key}
    assert wanted()[key] - proposed()[key] == left


def test_weights_are_clipped_somewhere():
    assert proposed()["loss.clip"] > {None}


def test_no_registry_is_forgotten():
    registries = {name for name in vars(TRAINABLES) if name not in JUDGES}
    assert {id(getattr(TRAINABLES, name)) for name in registries} == {id(registry) for registry in REGISTRIES.values()}
