"""Options models as the words of a command line, and `@FILE`, which keeps credentials out of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = ["as_words", "fields_by_origin", "option_of", "resolve_reference", "text_of_reference"]


def option_of(name: str, field: FieldInfo) -> str:
    """Returns the command line option of a model's field: `--wait-for-nodes` for `wait_for_nodes`."""
    return f"--{(field.alias or name).replace('_', '-')}"


def fields_by_origin(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Returns a model's fields in the order of the help: its own first, then those of its bases.

    Pydantic lists the fields of the bases first.
    """

    def distance(item: tuple[str, FieldInfo]) -> int:
        """Returns how far up the base is that defines the field."""
        name, _ = item
        return max(place for place, base in enumerate(model.__mro__) if name in getattr(base, "model_fields", {}))

    return sorted(model.model_fields.items(), key=distance)


def as_words(options: BaseModel) -> list[str]:
    """Returns an options model as the words of a command line. Defaults are left out and paths are made absolute.

    Values in a dict are written as JSON, which the command line reads back as YAML.
    """
    words: list[str] = []
    for name, field in fields_by_origin(type(options)):
        value = getattr(options, name)
        if value == field.get_default(call_default_factory=True):
            continue
        option = option_of(name, field)
        if value is True:
            words.append(option)
        else:
            words += [f"{option}={text}" for text in _texts(value)]
    return words


def _texts(value: Any) -> list[str]:
    """Returns the values of an option as text: one for each time that the option is given."""
    if isinstance(value, dict):
        return [f"{key}={_as_json(item)}" for key, item in value.items()]
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return [",".join(_texts(group)) for group in value]
    if isinstance(value, tuple):
        return [",".join(str(item) for item in value) or "none"]
    if isinstance(value, Path):
        return [str(value.absolute())]
    return [str(value)]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def resolve_reference(text: str) -> str:
    """Returns the line in the file for `@FILE`, and any other text as it is.

    Raises:
        ValueError: there is no such file, or it is not text.
    """
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ValueError("no such file, or no text") from None


def text_of_reference(text: str, where: str) -> str:
    """Calls `resolve_reference` and converts its error to one that names the option.

    Args:
        text: text, or `@FILE`.
        where: the option.

    Raises:
        ConfigError: there is no such file, or it is not text.
    """
    try:
        return resolve_reference(text)
    except ValueError as error:
        raise ConfigError(str(error), where=f"{where} {text}", fix="write the URI into it") from None
