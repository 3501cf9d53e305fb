import optuna
import pytest

from gansweep.store.store import Store
from tests.report.example_sweep import make_info, run_trial


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = Store.create(str(tmp_path_factory.mktemp("storage")), "fahr", make_info())
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(14):
        run_trial(store, study)
    return store


@pytest.fixture
def empty(tmp_path):
    return Store.create(str(tmp_path), "fahr", make_info())
