"""All keys of `--set`, read from the models that define them."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gansweep.config import TrialConfig
from gansweep.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from gansweep.contracts import Trainables

__all__ = ["Setting", "setting_keys"]

_SWEEPS = ("sampler", "scheduler", "scoring", "reports")
"""Fields of an experiment that `--set` can change. Every other key belongs to the trial configuration."""

_REGISTRIES = {
    "family": "gans",
    "conditioning": "conditionings",
    "attention": "attentions",
    "loss.kind": "losses",
    "penalty.kind": "penalties",
    "augmentation.kind": "augmentations",
    "scoring.detector": "detectors",
    "scoring.segmenter": "segmenters",
}


@dataclass(frozen=True)
class Setting:
    """A key of `--set`.

    Args:
        key: dotted key, such as `loss.kind`.
        default: value if the space does not set the key.
        allowed: allowed names, bounds or type.
        meaning: one sentence of explanation.
    """

    key: str
    default: str
    allowed: str
    meaning: str


def setting_keys(trainables: Trainables, family: str | None = None) -> list[Setting]:
    """Returns the keys of a trial, of its family's architecture, and of a sweep.

    Args:
        trainables: registry of names.
        family: family whose architecture is included; None: none.
    """
    names = {key: sorted(getattr(trainables, registry)) for key, registry in _REGISTRIES.items()}
    found = [*_keys(TrialConfig, "", names)]
    if family is not None:
        found += _keys(trainables.gans[family].Architecture, "architecture.", names)
    for name in _SWEEPS:
        found += _field(name, Experiment.model_fields[name], _meanings(Experiment).get(name, ""), names)
    return [item for item in found if item.key != "architecture"]


def _keys(model: type[BaseModel], prefix: str, names: dict[str, list[str]]) -> Iterator[Setting]:
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        yield from _field(f"{prefix}{field.alias or name}", field, meanings.get(name, ""), names)


def _field(key: str, field: FieldInfo, meaning: str, names: dict[str, list[str]]) -> Iterator[Setting]:
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _keys(annotation, f"{key}.", names)
        return
    allowed = _allowed(field)
    if key in names:
        allowed = ", ".join(names[key])
        meaning = "a name of `gansweep trainables`."
    yield Setting(key, _default(field), allowed, meaning)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _allowed(field: FieldInfo) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = []
    for constraint in field.metadata:
        for name, sign in signs.items():
            if hasattr(constraint, name):
                bounds.append(f"{sign} {getattr(constraint, name):g}")
    kinds = ", ".join(_kinds(field.annotation))
    return f"{kinds} {' and '.join(bounds)}".strip()


def _kinds(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds: list[str] = []
        for part in get_args(annotation):
            kinds += _kinds(part)
        return kinds
    if get_origin(annotation) is tuple:
        return [f"list of {', '.join(_kinds(get_args(annotation)[0]))}"]
    if get_origin(annotation) is Callable:
        return []  # only a space's file can give it
    words = {int: "whole number", float: "number", bool: "true, false", str: "text", type(None): "null"}
    return [words.get(annotation, str(annotation))]


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Returns the descriptions of a model's fields, from the Args of its docstring; bases first."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("Args:")[2]
        for names, meaning in re.findall(r"^ {4}(\w[\w, ]*): ((?:.|\n {6,})*)", text, flags=re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return found
