"""Finding a search space: a name in `search_spaces/`, or `file.py:function` of the user's own."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError, GansweepError
from gansweep.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["known_spaces", "load_space", "users_code"]

_PACKAGE = "search_spaces"


def known_spaces() -> list[str]:
    """Names of the spaces shipped in `search_spaces/`; those in folders as `folder/name`."""
    package = importlib.import_module(_PACKAGE)
    found = pkgutil.walk_packages(package.__path__, f"{_PACKAGE}.")
    names = (module.name.removeprefix(f"{_PACKAGE}.").replace(".", "/") for module in found if not module.ispkg)
    return sorted(name for name in names if not name.rpartition("/")[2].startswith("_"))


def load_space(reference: str) -> Experiment:
    """The experiment `reference` names.

    Args:
        reference: `fahr_ct`, `seeds/fahr_wgan_gp`, or `path/to/file.py:function`. A shipped space is the function of
            its file's name.

    Raises:
        ConfigError: no such space, file or function, one that raises, or one that does not return an Experiment.
    """
    path, colon, function = reference.partition(":")
    if colon or path.endswith(".py"):
        module = _user_module(Path(path), reference)
    else:
        if path not in known_spaces():
            close = get_close_matches(path, known_spaces(), n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known_spaces())}; or file.py:function"
            raise ConfigError(f"no search space {path!r}", fix=hint)
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


@contextmanager
def users_code(where: str) -> Iterator[None]:
    """Whatever a user's code raises while this lasts becomes one line; our own errors say by themselves what is wrong.

    Args:
        where: what is being run.

    Raises:
        ConfigError: names the error and the user's line that it passed last.
    """
    try:
        yield
    except GansweepError:
        raise
    except Exception as error:
        ours = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<")
        theirs = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
        line = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
        what = ": ".join(filter(None, (type(error).__name__, str(error))))
        raise ConfigError(what, where=f"{where}{line}") from error


def _user_module(path: Path, reference: str) -> ModuleType:
    """Imports a user's file; its definitions travel to the workers by value, for they cannot import it."""
    if not path.is_file():
        raise ConfigError("no such file", where=str(path), fix="give a space as path/to/file.py:function")
    name = f"gansweep_space_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", where=reference)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with users_code(f"space {reference}"):
        spec.loader.exec_module(module)
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return module
