"""Finds a search space: by its name in `search_spaces/`, or as a user's `file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from gansweep.config import first_fault
from gansweep.errors import ConfigError, GansweepError, unknown_name
from gansweep.experiment import Experiment
from gansweep.files import modules_in, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from gansweep.contracts import Trainables
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["check_recorded", "known_spaces", "load_space", "space_trainables", "swept_trainables", "users_code"]

_PACKAGE = "search_spaces"
_TRAINABLES = "trainables"


def known_spaces() -> list[str]:
    """Returns the names of the spaces in `search_spaces/`; those in folders as `folder/name`."""
    package = importlib.import_module(_PACKAGE)
    found = pkgutil.walk_packages(package.__path__, f"{_PACKAGE}.")
    names = (module.name.removeprefix(f"{_PACKAGE}.").replace(".", "/") for module in found if not module.ispkg)
    return sorted(name for name in names if not name.rpartition("/")[2].startswith("_"))


def load_space(reference: str) -> Experiment:
    """Loads the experiment that `reference` names.

    Args:
        reference: `fahr_ct`, `seeds/fahr_wgan_gp`, or `path/to/file.py:function`. The function of a shipped space has
            the name of its file.

    Raises:
        ConfigError: there is no such space, file or function, or it raises, or it does not return an Experiment.
    """
    path, colon, function = reference.partition(":")
    if colon or path.endswith(".py"):
        module = _user_module(Path(path), reference)
    else:
        if path not in known_spaces():
            raise unknown_name("search space", path, [*known_spaces(), "path/to/file.py:function"])
        module = importlib.import_module(f"{_PACKAGE}.{path.replace('/', '.')}")
        function = path.rpartition("/")[2]
    build = getattr(module, function, None)
    if not callable(build):
        raise ConfigError(f"no function {function!r}", where=path, fix="name it as file.py:function")
    with users_code(f"space {reference}"):
        experiment = build()
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{function} returned {type(experiment).__name__}, not an Experiment", where=path)
    return experiment


def space_trainables(space: str | None) -> Trainables:
    """Returns the registry of names for configurations: that of `space`, or without one that of gansweep.

    Raises:
        ConfigError: there is no such space.
    """
    if space:
        return load_space(space).trainables
    # The platform does not import trainables. It finds the registries by name, like spaces.
    shipped: Trainables = importlib.import_module(_TRAINABLES).TRAINABLES
    return shipped


def swept_trainables(space: str | None, info: SweepInfo) -> Trainables:
    """Returns the registry for a sweep's configurations: that of its space, which may be in a user's file.

    A file that only the store names is executed only if its recorded hashes show that it is the file of the sweep.

    Args:
        space: the user's argument, if any.
        info: the sweep's record.

    Raises:
        ConfigError: there is no such space, or its file is not the recorded one.
    """
    if space:
        return load_space(space).trainables
    fix = "say with --space where it is now"
    check_recorded(info, fix=fix)
    try:
        return load_space(info.space).trainables
    except ConfigError as error:
        raise ConfigError(f"the sweep's space cannot be found: {error.what}", where=info.space, fix=fix) from None


def check_recorded(info: SweepInfo, *, fix: str) -> None:
    """Refuses to execute a file that only a store names, unless it is the file of the sweep.

    Args:
        info: the sweep's record.
        fix: what the user can do instead.

    Raises:
        ConfigError: the file is missing, or its hash or that of a file in its folder is not the recorded one.
    """
    path, colon, _ = info.space.partition(":")
    if (colon or path.endswith(".py")) and (changed := _not_recorded(Path(path), info)):
        raise ConfigError(f"the sweep's space is not executed: {changed}", where=info.space, fix=fix)


def _not_recorded(path: Path, info: SweepInfo) -> str:
    """Returns which of a space's files differs from the sweep's record; empty if none does."""
    if not path.is_file():
        return "no such file"
    recorded = {path.name: info.space_sha256, **info.space_imports}
    for name, digest in recorded.items():
        beside = path.with_name(name)
        if not beside.is_file() or sha256_of(beside) != digest:
            return f"{name} is not the file that the sweep ran"
    return ""


@contextmanager
def users_code(where: str) -> Iterator[None]:
    """Converts exceptions from a user's code to one-line errors while the block runs. Our own errors are passed on.

    Code that ends the process (`sys.exit`) is converted too: the sweep would end without a word.

    Args:
        where: description of the code.

    Raises:
        ConfigError: names the error and the last line of the user's code in its traceback.
    """
    try:
        yield
    except GansweepError:
        raise
    except (Exception, SystemExit) as error:
        ours = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<")
        frames = traceback.extract_tb(error.__traceback__)
        # Compiled modules name source files that are not there.
        theirs = [frame for frame in frames if not frame.filename.startswith(ours) and Path(frame.filename).is_file()]
        line = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
        what = ": ".join(filter(None, (type(error).__name__, str(error))))
        if isinstance(error, ValidationError):
            what = first_fault(error)
        raise ConfigError(what, where=f"{where}{line}") from error


def _user_module(path: Path, reference: str) -> ModuleType:
    """Imports a user's file, which may import others from its folder.

    The definitions of all these files are pickled by value, because the workers cannot import them.
    """
    if not path.is_file():
        raise ConfigError("no such file", where=str(path), fix="give a space as path/to/file.py:function")
    name = f"gansweep_space_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", where=reference)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with users_code(f"space {reference}"):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    from ray import cloudpickle

    for loaded in (module, *modules_in(path.parent)):
        cloudpickle.register_pickle_by_value(loaded)
    return module
