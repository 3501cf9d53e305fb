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

from gansweep.cli.options import parse_group, parse_names, parse_numbers, parse_settings
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
    models = {name: model for name, parameter in signature.parameters.items() if (model := _model_of(parameter))}
    partial = {name for name in models if get_origin(signature.parameters[name].annotation) is Annotated}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in models:
            fields = fields_by_origin(models[name])
            parameters += [_parameter(key, field, in_file=name in partial) for key, field in fields]
        else:
            parameters.append(parameter)
    if partial:
        parameters.append(inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))

    @wraps(function)
    def run(**values: Any) -> None:
        context: typer.Context | None = values.pop(_CONTEXT, None)
        for name, model in models.items():
            typed = {key: values.pop(key) for key in model.model_fields}
            if name in partial:
                typed = {key: value for key, value in typed.items() if _is_typed(context, key)}
            own = {key: _parsed(value, key, model.model_fields[key]) for key, value in typed.items()}
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
    candidates = (parameter.annotation, *getattr(parameter.annotation, "__metadata__", ()))
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)), None)


def _is_typed(context: typer.Context | None, key: str) -> bool:
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
    elsewhere = in_file and field.is_required()
    bounds = {key: getattr(item, key) for item in field.metadata for key in ("ge", "le") if hasattr(item, key)}
    words = option_of(name, field)
    if field.annotation is bool and field.default is True:
        words += words.replace("--", "/--no-", 1)
    option = typer.Option(
        words,
        help=f"{field.description} Required, here or in a file." if elsewhere else field.description,
        metavar=_metavar(field),
        min=bounds.get("ge"),
        max=bounds.get("le"),
    )
    default = None if elsewhere else inspect.Parameter.empty
    if elsewhere:
        kind = kind | None
    if not field.is_required():
        default = _shown(field.get_default(call_default_factory=True))
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _metavar(field: FieldInfo) -> str | None:
    """Returns the field's placeholder in the help, if the model defines one."""
    extra = field.json_schema_extra
    return str(extra["metavar"]) if isinstance(extra, dict) and "metavar" in extra else None


def _kind(annotation: Any) -> Any:
    """Returns the type that typer parses: text for tuples, a list of KEY=VALUE for dicts."""
    optional = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    inner = next((part for part in get_args(annotation) if part is not type(None)), str) if optional else annotation
    if get_origin(inner) is dict or _is_dicts(inner):
        return list[str] | None
    if get_origin(inner) is tuple:
        inner = str
    assert inner in (int, float, bool, str, Path) or get_origin(inner) is Literal, f"no option can be made of {inner}"
    return inner | None if optional else inner


def _is_dicts(annotation: Any) -> bool:
    """Returns whether a field contains several KEY=VALUE,... groups."""
    return get_origin(annotation) is tuple and any(get_origin(part) is dict for part in get_args(annotation))


def _shown(default: Any) -> Any:
    """Returns a model's default as shown in the help."""
    if default == ():
        return None
    if isinstance(default, tuple):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in default)
    return None if default == {} or default is PydanticUndefined else default


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
        return parse_numbers(value, option_of(name, field), _metavar(field) or "NUMBER,NUMBER,...")
    return parse_names(value)
