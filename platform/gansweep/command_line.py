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
    """Returns a model's fields as options are listed: its own first, those that it shares through its bases after them.

    Pydantic lists those of the bases first.
    """

    def distance(item: tuple[str, FieldInfo]) -> int:
        return max(n for n, base in enumerate(model.__mro__) if item[0] in getattr(base, "model_fields", {}))

    return sorted(model.model_fields.items(), key=distance)


def as_words(options: BaseModel) -> list[str]:
    """Returns an options model as the words of a command line. Defaults are left out and paths are made absolute.

    Values in a dict are written as JSON, which the command line reads back as YAML.
    """
    words = []
    for name, field in fields_by_origin(type(options)):
        value = getattr(options, name)
        if value == field.get_default(call_default_factory=True):
            continue
        option = option_of(name, field)
        if isinstance(value, tuple) and value and isinstance(value[0], dict):
            words += [f"{option}={','.join(f'{key}={_word(item)}' for key, item in part.items())}" for part in value]
        elif isinstance(value, dict):
            words += [f"{option}={key}={_word(item)}" for key, item in value.items()]
        elif isinstance(value, tuple):
            words.append(f"{option}={','.join(map(str, value)) or 'none'}")
        elif value is True:
            words.append(option)
        else:
            words.append(f"{option}={value.absolute() if isinstance(value, Path) else value}")
    return words


def _word(value: Any) -> str:
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
    """Returns what `resolve_reference` does, for text that the user gave as `where`.

    Raises:
        ConfigError: there is no such file, or it is not text.
    """
    try:
        return resolve_reference(text)
    except ValueError as error:
        raise ConfigError(str(error), where=f"{where} {text}", fix="write the URI into it") from None
