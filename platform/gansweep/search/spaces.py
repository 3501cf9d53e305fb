"""Finding a search space: a name in `search_spaces/`, or `file.py:function` of the user's own."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError
from gansweep.experiment import Experiment

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["known_spaces", "load_space"]

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
        ConfigError: no such space, file or function, or one that does not return an Experiment.
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
    experiment = build()
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{function} returned {type(experiment).__name__}, not an Experiment", where=path)
    return experiment


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
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{type(error).__name__}: {error}", where=str(path)) from error
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return module
