"""A sweep as a file: its space and options, in YAML or JSON, or from the `sweep.json` of a store."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gansweep.command_line import option_of
from gansweep.config import validated
from gansweep.errors import CohortError, ConfigError, GansweepError, unknown_name
from gansweep.options import SweepOptions
from gansweep.search.spaces import check_recorded, load_space
from gansweep.search.yaml_values import load_yaml
from gansweep.store.continuation import differences
from gansweep.store.feature_files import FEATURE_FILES, check_feature_files
from gansweep.store.filesystem import Files
from gansweep.store.record import COPY_FILE, SWEEP_FILE, check_name, parse_info, read_record
from gansweep.store.uris import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gansweep.experiment import Experiment
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["SweepFile", "SweepRequest", "is_sweep_file", "read_sweep_file", "sweep_request"]

_SUFFIXES = (".yaml", ".yml", ".json")
_SPACE = "space"
_NAMES = {name: item.alias or name for name, item in SweepOptions.model_fields.items()}
"""Name of each field in a file and on the command line."""

_LEFT_OPEN = {"cohort": ".", "storage": ".", "name": "any", "trials": 1}
"""Placeholders for options that a file leaves to the command line, so that the others can be validated alone."""

_SET_AS_WELL = {"sampler": "sampler", "scheduler.kind": "scheduler", "constraints": "constraint", "prune": "prune"}
"""Keys of `set` that are also options. The option has precedence, unless it is the file's and the key is the user's."""


@dataclass(frozen=True)
class SweepFile:
    """Content of a sweep's file.

    Args:
        label: location of the file, for messages.
        space: name of the space, or `file.py:function`.
        options: options in the file, by field name (`set`, `workers_per_trial`).
        record: the whole record, if the file is a store's.
    """

    label: str
    space: str
    options: dict[str, Any]
    record: SweepInfo | None = None

    def experiment(self) -> Experiment:
        """Checks the file's settings and returns the experiment of its space without them.

        Raises:
            ConfigError: there is no such space, it is not the recorded one, or it does not have one of the settings.
        """
        if self.record is not None:
            check_recorded(self.record, fix=f"if you trust it, name it yourself: space: {self.space} in your own file")
        try:
            found = load_space(self.space)
        except ConfigError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise ConfigError(what, where=f"{self.label}: {_SPACE}", fix=error.fix) from None
        own = validated(SweepOptions, {**_LEFT_OPEN, **self.options}, where=self.label)
        try:
            changed = found.with_settings(own.changes())
        except ConfigError as error:
            raise ConfigError(error.what, where=f"{self.label}: set", fix=error.fix) from None
        if self.record is not None:
            _check_same(self.record, changed, self.label)
        return found

    def merged(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the file's options, updated with those that the user gave.

        `set` and `target` are merged by key. Every other option is replaced as a whole.
        """
        both = dict(self.options)
        for key in given.get("set", {}):
            both.pop(_SET_AS_WELL.get(key, ""), None)
        for key, value in given.items():
            before = both.get(key)
            both[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
        return both

    @contextmanager
    def blamed(self, given: Mapping[str, Any]) -> Iterator[None]:
        """Makes errors about options name the file while the block runs, if the option is the file's."""
        try:
            yield
        except GansweepError as error:
            key = error.where.removeprefix("--").replace("-", "_") if error.where.startswith("--") else ""
            where = error.where
            if key in self.options and key not in given:
                where = f"{self.label}: {key}"
            elif isinstance(error, CohortError) and "cohort" not in given and _begins(where, self.options):
                where = f"{self.label}: cohort: {where}"
            raise type(error)(error.what, where=where, fix=error.fix) from None


@dataclass(frozen=True)
class SweepRequest:
    """A sweep requested by a user.

    Args:
        space: name of the space, or `file.py:function`.
        experiment: the space's experiment, with the changes of the options applied.
        options: complete options.
        file: the sweep's file, if there is one.
        given: options given in addition to the file.
    """

    space: str
    experiment: Experiment
    options: SweepOptions
    file: SweepFile | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """See `SweepFile.blamed`."""
        if self.file is None:
            yield
            return
        with self.file.blamed(self.given):
            yield


def sweep_request(reference: str, given: Mapping[str, Any], *, where: str) -> SweepRequest:
    """Returns the sweep of a space, or of a sweep's file, with the user's additional options.

    Args:
        reference: name of a space, `file.py:function`, a YAML or JSON file, or the `sweep.json` of a store.
        given: fields of `SweepOptions`, by field or option name.
        where: name of the command or function, for messages.

    Raises:
        ConfigError: an option is missing, unknown or out of range, the name is not valid for a sweep, there is no such
            space, or it does not have one of the settings.
        StoreError: a record cannot be read.
    """
    given = {_NAMES.get(key, key): value for key, value in given.items()}
    if not is_sweep_file(reference):
        options = validated(SweepOptions, given, where=where)
        check_name(options.name)
        space = load_space(reference)
        try:
            return SweepRequest(reference, space.with_settings(options.changes()), options)
        except ConfigError as error:
            option = "--set" if error.where == "trial configuration" else error.where
            raise ConfigError(error.what, where=option, fix=error.fix) from None
    file = read_sweep_file(reference)
    values = file.merged(given)
    _check_complete(values, file.label)
    options = validated(SweepOptions, values, where=where)
    with file.blamed(given):
        check_name(options.name)
        experiment = file.experiment().with_settings(options.changes())
    if file.record is not None:
        _check_features(file.record, experiment, given.get("set", {}))
    return SweepRequest(file.space, experiment, options, file, given)


def is_sweep_file(reference: str) -> bool:
    """Returns whether a user's SPACE argument is a sweep's file."""
    path = reference.partition("?")[0] if "://" in reference else reference
    return path.lower().endswith(_SUFFIXES)


def read_sweep_file(reference: str) -> SweepFile:
    """Reads a sweep's file.

    Args:
        reference: path, or the URI of a store's `sweep.json`.

    Raises:
        ConfigError: the file is missing or not YAML, has no space or an unknown key, or has a value out of range.
        StoreError: the URI cannot be read, or the record has another format.
    """
    label = without_credentials(reference)
    if (info := _stored_record(reference)) is not None:
        return _recorded(info, reference, label)
    content = _content(reference)
    values = _values(content, label)
    if {"experiment", "format"} <= values.keys():
        return _recorded(parse_info(content, label), reference, label)
    if _SPACE not in values:
        fix = "add space: NAME (see gansweep trainables), or space: path/to/file.py:function"
        raise ConfigError(f"missing key {_SPACE!r}", where=label, fix=fix)
    space = values.pop(_SPACE)
    if not isinstance(space, str) or is_sweep_file(space):
        fix = "give a name of gansweep trainables, or path/to/file.py:function"
        raise ConfigError(f"{space!r} is no space", where=f"{label}: {_SPACE}", fix=fix)
    options = _by_name(values, label)
    if isinstance(options.get("set"), dict):
        options["set"] = _dotted(options["set"])
    return SweepFile(label, space, _checked(options, label))


def _recorded(info: SweepInfo, reference: str, label: str) -> SweepFile:
    """Converts a store's record to a file. The storage is the store's own location. The user must choose a new name."""
    if not info.options:
        fix = "give the space and its options on the command line"
        raise ConfigError("the sweep did not record its options", where=label, fix=fix)
    options = _by_name(info.options, label)
    # Trials added by a resumed run belong to the sweep too.
    options["trials"] = max(info.trials, int(options.get("trials", 1)))
    folder, name, query = _place(reference)
    if name == SWEEP_FILE:
        options["storage"] = f"{folder.rpartition('/')[0]}{query}"
    return SweepFile(label, info.space, _checked(options, label), info)


def _stored_record(reference: str) -> SweepInfo | None:
    """Returns the record of the store whose `sweep.json` is given, or its copy; None for another file."""
    folder, name, query = _place(reference)
    if name != SWEEP_FILE:
        return None
    files = Files(f"{folder}{query}")
    return read_record(files) if files.exists(COPY_FILE) else None


def _place(reference: str) -> tuple[str, str, str]:
    """Returns the folder of a file, its name, and the query of a URI with its question mark."""
    base, mark, query = reference.partition("?") if "://" in reference else (str(Path(reference).absolute()), "", "")
    folder, _, name = base.rpartition("/")
    return folder, name, f"{mark}{query}"


def _content(reference: str) -> bytes:
    if "://" in reference:
        folder, name, query = _place(reference)
        return Files(f"{folder}{query}").read_bytes(name)
    try:
        return Path(reference).read_bytes()
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=reference) from None


def _values(content: bytes, label: str) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
        values = json.loads(text, object_pairs_hook=_once) if label.lower().endswith(".json") else load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if label.lower().endswith(".json") else "YAML"
        raise ConfigError(f"not {kind} ({_brief(error)})", where=label) from None
    if not isinstance(values, dict):
        raise ConfigError("no keys with values", where=label, fix="write space: NAME, and options under their names")
    return {str(key): value for key, value in values.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for number, (key, _) in enumerate(pairs):
        if any(key == other for other, _ in pairs[:number]):
            raise ValueError(f"{key!r} is given twice")
    return dict(pairs)


def _brief(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        text = error.context if error.context and "twice" in error.context else error.problem
        return f"{text}, line {mark.line + 1}" if mark is not None else str(text)
    return str(error).partition("\n")[0] or type(error).__name__


def _by_name(values: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Returns the options by field name. Accepts option names such as `workers-per-trial` too."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in _NAMES.values():
            raise unknown_name("key", key, [_SPACE, *_NAMES.values()], where=label)
        if name in found:
            raise ConfigError(f"{name!r} is given twice", where=label)
        found[name] = value
    return found


def _checked(options: dict[str, Any], label: str) -> dict[str, Any]:
    for name, item in SweepOptions.model_fields.items():
        # pydantic accepts true as 1, and YAML reads yes as true.
        key = _NAMES[name]
        if isinstance(options.get(key), bool) and item.annotation is not bool:
            raise ConfigError(f"{key} = {options[key]}: input should not be true or false", where=label)
    validated(SweepOptions, {**_LEFT_OPEN, **options}, where=label)
    return options


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Converts `{"scoring": {"samples": 64}}` to `{"scoring.samples": 64}`, so that other settings stay unchanged."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found |= {f"{key}.{inner}": item for inner, item in _dotted(value).items()}
        else:
            found[str(key)] = value
    return found


def _check_complete(values: Mapping[str, Any], label: str) -> None:
    for name, item in SweepOptions.model_fields.items():
        if item.is_required() and _NAMES[name] not in values:
            fix = f"add it, or give {option_of(name, item)}"
            raise ConfigError(f"missing key {_NAMES[name]!r}", where=label, fix=fix)


def _check_same(record: SweepInfo, experiment: Experiment, label: str) -> None:
    """Refuses a record whose space now makes another experiment: it was changed, or was made by a program."""
    now = record.model_copy(update={"experiment": experiment.model_dump(mode="json", by_alias=True)})
    changed: list[tuple[str, Any, Any]] = [(key, before, value) for key, before, value in differences(record, now)]
    if record.objectives != experiment.objectives:
        names = [", ".join(goal.name for goal in goals) for goals in (record.objectives, experiment.objectives)]
        changed.insert(0, ("objectives", names[0], names[1]))
    for key, before, value in changed:
        what = f"the sweep had {key} = {before}, and its space {record.space} now gives {value}"
        raise ConfigError(what, where=label, fix="write what you want into a sweep's file of your own")


def _check_features(record: SweepInfo, experiment: Experiment, given: Mapping[str, Any]) -> None:
    """Refuses to execute a feature file that only a store names, unless it is that of the sweep."""
    users = {name: None for name in FEATURE_FILES if f"scoring.{name}" in given}
    scoring = experiment.scoring.model_copy(update=users)
    check_feature_files(scoring, record.feature_files, fix="if you trust it, name it yourself with --set")


def _begins(where: str, options: Mapping[str, Any]) -> bool:
    return "cohort" in options and where.startswith(str(Path(str(options["cohort"]))))
