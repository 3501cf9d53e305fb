"""Options shared by several commands, and the parsing of their values."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from gansweep.command_line import text_of_reference
from gansweep.errors import ConfigError

__all__ = [
    "AddressOption",
    "CohortOption",
    "CpusOption",
    "GpusOption",
    "Json",
    "OwnSpaceOption",
    "SeedOption",
    "SetOption",
    "StoreArgument",
    "SweptSpaceOption",
    "WorkersOption",
    "joined",
    "parse_group",
    "parse_names",
    "parse_numbers",
    "parse_settings",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; all else goes to stderr.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random choice.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Fix a setting: scoring.samples=256, lr_d=1e-4. Repeatable."),
]
CohortOption = Annotated[Path, typer.Option("--cohort", metavar="DIR", help="Folder that `gansweep ingest` wrote.")]
AddressOption = Annotated[
    str | None, typer.Option("--address", metavar="URL", help="URL of the cluster's dashboard: http://127.0.0.1:8265.")
]
WorkersOption = Annotated[int, typer.Option("--workers-per-trial", min=1, help="Ray Train workers per trial.")]
GpusOption = Annotated[
    float, typer.Option("--gpus-per-worker", min=0.0, help="GPUs per worker; with 0.5, two trials share one.")
]
CpusOption = Annotated[float, typer.Option("--cpus-per-worker", min=0.1, help="CPU cores per worker.")]
SweptSpaceOption = Annotated[
    str | None, typer.Option("--space", metavar="SPACE", help="The sweep's space, if its file has moved.")
]
OwnSpaceOption = Annotated[
    str | None, typer.Option("--space", metavar="SPACE", help="Whose families it is of, if they are your own.")
]


def _from_file(value: str) -> str:
    """Returns the line in the file for `@FILE`, which keeps credentials out of the command line."""
    return text_of_reference(value, "STORE") if value else value


StoreArgument = Annotated[
    str,
    typer.Argument(
        metavar="STORE", help="A sweep's store: <storage>/<name>, or @FILE with that in it.", callback=_from_file
    ),
]

# Matches a comma that ends a value. A comma inside a list is not followed by KEY=.
_NEXT_KEY = re.compile(r",(?=\s*[A-Za-z_][\w.]*=)")


def parse_settings(pairs: Iterable[str] | None, option: str = "--set") -> dict[str, Any]:
    """Parses `["lr_d=2e-4", "penalty.kind=r1"]` to `{"lr_d": 0.0002, "penalty.kind": "r1"}`; values are YAML.

    Raises:
        ConfigError: an item is not KEY=VALUE, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{pair!r} is not KEY=VALUE", where=option, fix=f"for example {option} lr_d=2e-4")
        if key.strip() in settings:
            raise ConfigError(f"{key.strip()!r} is given twice", where=option)
        settings[key.strip()] = _value(text, pair, option)
    return settings


def parse_group(text: str, option: str) -> dict[str, Any]:
    """Parses `"lr_d=2e-4,width=16"` to `{"lr_d": 0.0002, "width": 16}`; values are YAML, and may contain commas.

    Args:
        text: the user's text.
        option: option with the text, for the message.

    Raises:
        ConfigError: an item is not KEY=VALUE, or a key is given twice.
    """
    return parse_settings(_NEXT_KEY.split(text), option)


def joined(texts: Iterable[str]) -> str:
    """Joins the values of an option that was given several times: each is a list with commas."""
    return ",".join(texts)


def parse_numbers(text: str, option: str, form: str) -> tuple[float, ...]:
    """Parses `"0.6,0.2,0.2"` to numbers. The options model checks their values.

    Args:
        text: the user's text.
        option: option with the text, for the message.
        form: form of the value: `TRAIN,VAL,TEST`.

    Raises:
        ConfigError: an item is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        fix = "give numbers with commas: 0.6,0.2,0.2"
        raise ConfigError(f"{text!r} is not {form}", where=option, fix=fix) from None


def parse_names(text: str) -> tuple[str, ...]:
    """Parses `"control, fahr"` to names."""
    return tuple(name.strip() for name in text.split(","))


def _value(text: str, pair: str, option: str) -> Any:
    import yaml

    from gansweep.search.yaml_values import load_yaml

    try:
        return load_yaml(text)
    except yaml.YAMLError:
        raise ConfigError(f"the value of {pair!r} is not YAML", where=option) from None
