"""Command line options from an options model: one option per field, with the field's description as its help."""

import inspect
import types
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gansweep.cli.options import joined, parse_group, parse_names, parse_numbers, parse_settings
from gansweep.command_line import fields_by_origin, option_of
from gansweep.config import validated

__all__ = ["with_model_options"]

_CONTEXT = "command_context"


def with_model_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replaces every parameter of `function` that is a pydantic model by one option for each of the model's fields.

    The command line therefore cannot differ from the library: a field added to a model becomes an option. A value that
    the model rejects becomes a ConfigError of one line.

    A parameter of type `Annotated[dict[str, Any], Model]` gets only the options given by the user, by field name. A
    file may provide the others, so none of these options is required.
    """
    signature = inspect.signature(function)
    models: dict[str, type[BaseModel]] = {}
    partial: set[str] = set()  # names of the parameters that get only the options given by the user
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        model = _model_of(parameter)
        if model is None:
            parameters.append(parameter)
            continue
        models[name] = model
        is_partial = get_origin(parameter.annotation) is Annotated
        if is_partial:
            partial.add(name)
        parameters += [_parameter(key, field, in_file=is_partial) for key, field in fields_by_origin(model)]
    if partial:
        parameters.append(inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))

    @wraps(function)
    def run(**values: Any) -> None:
        context: typer.Context | None = values.pop(_CONTEXT, None)
        for name, model in models.items():
            given = {key: values.pop(key) for key in model.model_fields}
            if name in partial:
                given = {key: value for key, value in given.items() if _is_given(context, key)}
            own = {key: _parsed(value, key, model.model_fields[key]) for key, value in given.items()}
            values[name] = own if name in partial else validated(model, own, where=function.__name__)
        function(**values)

    # Typer reads both. Options without a default must come before those with one.
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = signature.replace(parameters=keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    del run.__wrapped__
    return run


def _model_of(parameter: inspect.Parameter) -> type[BaseModel] | None:
    """Returns the model whose fields a parameter represents, or None."""
    for candidate in (parameter.annotation, *getattr(parameter.annotation, "__metadata__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _is_given(context: typer.Context | None, key: str) -> bool:
    """Returns whether the user gave an option, even with its default value."""
    source = context.get_parameter_source(key) if context is not None else None
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _parameter(name: str, field: FieldInfo, *, in_file: bool) -> inspect.Parameter:
    """Returns a field as a parameter that typer understands.

    Args:
        name: name of the field.
        field: field of the model.
        in_file: whether a file may provide the value instead.
    """
    kind = _kind(field.annotation)
    metavar = _metavar(field)
    if metavar is not None and _is_choice(kind):
        kind = str | None  # the model refuses a wrong choice in its own words
    elsewhere = in_file and field.is_required()
    words = option_of(name, field)
    if field.annotation is bool and field.default is True:
        words += words.replace("--", "/--no-", 1)
    option = typer.Option(
        words,
        help=f"{field.description} Required, here or in a file." if elsewhere else field.description,
        metavar=metavar,
        min=_bound(field, "ge"),
        max=_bound(field, "le"),
    )
    default = None if elsewhere else inspect.Parameter.empty
    if elsewhere:
        kind = kind | None
    if not field.is_required():
        default = _shown(field.get_default(call_default_factory=True))
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _bound(field: FieldInfo, name: str) -> float | None:
    """Returns the field's constraint `ge` or `le`, if it has one."""
    for constraint in field.metadata:
        if hasattr(constraint, name):
            bound: float = getattr(constraint, name)
            return bound
    return None


def _metavar(field: FieldInfo) -> str | None:
    """Returns the field's placeholder in the help, if the model defines one."""
    extra = field.json_schema_extra
    return str(extra["metavar"]) if isinstance(extra, dict) and "metavar" in extra else None


def _kind(annotation: Any) -> Any:
    """Returns the type that typer parses: a list of text for tuples, which join repeats, and of KEY=VALUE for dicts."""
    optional = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    inner = annotation
    if optional:
        inner = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(inner) in (dict, tuple):
        return list[str] | None
    assert inner in (int, float, bool, str, Path) or get_origin(inner) is Literal, f"no option can be made of {inner}"
    return inner | None if optional else inner


def _is_choice(kind: Any) -> bool:
    """Returns whether a type is a choice among names, which may be left out."""
    return any(get_origin(part) is Literal for part in (kind, *get_args(kind)))


def _is_dicts(annotation: Any) -> bool:
    """Returns whether a field contains several KEY=VALUE,... groups."""
    return get_origin(annotation) is tuple and any(get_origin(part) is dict for part in get_args(annotation))


def _shown(default: Any) -> Any:
    """Returns a model's default as shown in the help."""
    if default in ((), {}) or default is PydanticUndefined:
        return None
    if not isinstance(default, tuple):
        return default
    return [",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in default)]


def _parsed(value: Any, name: str, field: FieldInfo) -> Any:
    """Converts the user's text to the form that the model expects."""
    annotation = field.annotation
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kind = next((part for part in parts if get_origin(part) in (tuple, dict)), None)
    if get_origin(kind) is dict:
        # Values of a map are words, which YAML would turn into numbers and booleans; the model reads them itself.
        return (value or {}) if get_args(kind)[1] is str else parse_settings(value, option_of(name, field))
    if _is_dicts(kind):
        return tuple(parse_group(text, option_of(name, field)) for text in value or ())
    if kind is None:
        return value
    if value is None:
        return None if field.is_required() else field.get_default(call_default_factory=True)
    if float in get_args(kind):
        return parse_numbers(joined(value), option_of(name, field), _metavar(field) or "NUMBER,NUMBER,...")
    return parse_names(joined(value))
