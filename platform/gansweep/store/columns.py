"""Column types: declared by the configuration models, and widened when a value requires it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from gansweep.config import TrialConfig
from gansweep.store.schema import ColumnType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import Trainables

__all__ = [
    "arrow_schema",
    "config_columns",
    "conformed",
    "fitted",
    "from_arrow",
    "merged",
    "needed",
    "reconciled",
]

Columns = Mapping[str, ColumnType]

_ARROW: dict[ColumnType, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_PYTHON: tuple[tuple[type, ColumnType], ...] = (
    (bool, "bool"),  # before int, because bool is a subclass of int
    (int, "int64"),
    (float, "float64"),
    (datetime, "timestamp"),
)
_BY_PRECEDENCE: tuple[ColumnType, ...] = ("string", "timestamp", "bool", "int64", "float64")


def config_columns(trainables: Trainables) -> dict[str, ColumnType]:
    """Returns the `config.*` columns of every trial that a search over `trainables` can produce.

    They include the architecture keys of all families. They are declared before the first trial, so that every file of
    the sweep has the same columns, whichever family its trial belongs to.
    """
    columns = _model_columns(TrialConfig, "config.")
    for family in trainables.gans.values():
        columns = merged(columns, _model_columns(family.Architecture, "config.architecture."))
    return columns


def needed(records: Sequence[Mapping[str, Any]]) -> dict[str, ColumnType]:
    """Returns the columns that some rows require. A value of None does not determine a type."""
    columns: dict[str, ColumnType] = {}
    for record in records:
        types = {name: _type_of_value(value) for name, value in record.items() if value is not None}
        columns = merged(columns, types)
    return columns


def merged(known: Columns, new: Columns) -> dict[str, ColumnType]:
    """Returns columns wide enough for both arguments: int64 and float64 merge to float64, other conflicts to string."""
    together = dict(known)
    for name, kind in new.items():
        together[name] = _wider(together[name], kind) if name in together else kind
    return together


def fitted(record: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Returns `record` with each value converted to its column's type. Non-finite numbers become null."""
    return {name: _fitted(record.get(name), kind) for name, kind in columns.items()}


def arrow_schema(columns: Columns) -> pa.Schema:
    """Returns `columns` as a pyarrow schema."""
    return pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])


def from_arrow(schema: pa.Schema) -> dict[str, ColumnType]:
    """Returns the columns of a Parquet file's schema. A column without any value has no type, and is left out."""
    return {item.name: _type_of_arrow(item.type) for item in schema if not pa.types.is_null(item.type)}


def reconciled(declared: Columns, *found: Columns) -> dict[str, ColumnType]:
    """Returns the columns of a table from those of its files.

    Settings (`config.*`) are wide enough for all files. Other columns have their declared type, or numbers where any
    file has numbers: text among them comes from a damaged file.

    Args:
        declared: types of the columns that are known in advance. They are not added.
        found: columns of each file.
    """
    together: dict[str, ColumnType] = {}
    for columns in found:
        for name, kind in columns.items():
            if name.startswith("config."):
                together[name] = _wider(together.get(name, kind), kind)
            elif name in declared:
                together[name] = declared[name]
            else:
                together[name] = max(together.get(name, kind), kind, key=_BY_PRECEDENCE.index)
    return together


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns `table` with exactly the columns of `schema`: cast, and filled with nulls."""
    arrays = []
    for field in schema:
        if field.name in table.column_names:
            arrays.append(table[field.name].cast(field.type))
        else:
            arrays.append(pa.nulls(len(table), field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _wider(one: ColumnType, other: ColumnType) -> ColumnType:
    if one == other:
        return one
    return "float64" if {one, other} == {"int64", "float64"} else "string"


def _type_of_arrow(kind: pa.DataType) -> ColumnType:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind):
        return "float64"
    return "timestamp" if pa.types.is_timestamp(kind) else "string"


def _type_of_value(value: Any) -> ColumnType:
    for kind, name in _PYTHON:
        if isinstance(value, kind):
            return name
    return "string"


def _fitted(value: Any, kind: ColumnType) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None:
        return None
    if kind == "float64":
        return float(value)
    if kind == "string" and not isinstance(value, str):
        return json.dumps(value, default=str)
    return value


def _model_columns(model: type[BaseModel], prefix: str) -> dict[str, ColumnType]:
    columns: dict[str, ColumnType] = {}
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            columns |= _model_columns(annotation, f"{key}.")
        elif get_origin(annotation) is not dict:
            columns[key] = _type_of_annotation(annotation)
    return columns


def _type_of_annotation(annotation: Any) -> ColumnType:
    origin = get_origin(annotation)
    if origin is Literal:
        return _common(_type_of_value(value) for value in get_args(annotation) if value is not None)
    if origin in (Union, UnionType):
        return _common(_type_of_annotation(part) for part in get_args(annotation) if part is not NoneType)
    for kind, name in _PYTHON:
        if annotation is kind:
            return name
    return "string"


def _common(kinds: Iterable[ColumnType]) -> ColumnType:
    """Returns a type wide enough for all of `kinds`."""
    return reduce(_wider, kinds)
