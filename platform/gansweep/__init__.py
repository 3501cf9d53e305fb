"""gansweep: distributed hyperparameter search for medical-image GANs.

The library does what the command line does:

    from gansweep import confirm, export_best, ingest, sweep

    cohort = ingest("scans", "cohort", labels="labels.csv")
    store = sweep("fahr_ct", cohort=cohort, storage="runs", name="fahr", trials=50)
    store.trials().sort_values("fid")
    confirm(store)
    export_best(store, "best")

Heavy modules are imported on first use: `import gansweep` loads neither torch nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gansweep import api
from gansweep._version import __version__
from gansweep.api import *  # noqa: F403 (the commands, as `api.__all__` lists them)

if TYPE_CHECKING:
    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.experiment import Experiment
    from gansweep.store.store import Store

__all__ = ["Cohort", "Experiment", "Store", "Trainables", "TrialConfig", "__version__"]
__all__ += api.__all__

_FROM = {
    "Cohort": "gansweep.cohort.dataset",
    "Experiment": "gansweep.experiment",
    "Store": "gansweep.store.store",
    "Trainables": "gansweep.contracts",
    "TrialConfig": "gansweep.config",
}
"""Where the classes are. Their modules are heavy, and the functions of `api` import theirs when they are called."""


def __getattr__(name: str) -> Any:
    """Imports a public class at its first use (PEP 562)."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_FROM[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
