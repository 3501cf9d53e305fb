"""What a store names is executed only if its record vouches for it."""

import sys
from pathlib import Path

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.errors import ConfigError
from gansweep.search.spaces import load_space, swept_trainables
from gansweep.store.provenance import describe_sweep
from gansweep.store.sweep_info import SweepInfo
from tests.values import sweep_options

SPACE = """
from pathlib import Path
from beside_{name} import WIDTH
from gansweep.experiment import Experiment, TrialConfig
from trainables import TRAINABLES

Path(__file__).with_name("executed").touch()

def mine():
    return Experiment(name="mine", space=lambda trial: TrialConfig(), trainables=TRAINABLES)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "space.py").write_text(SPACE.format(name=tmp_path.name))
    (tmp_path / f"beside_{tmp_path.name}.py").write_text("WIDTH = 8\n")
    return tmp_path


@pytest.fixture
def info(folder: Path, cohort_path: Path) -> SweepInfo:
    reference = f"{folder / 'space.py'}:mine"
    experiment = load_space(reference)
    found = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(), space=reference)
    (folder / "executed").unlink()
    sys.modules.pop(f"beside_{folder.name}")
    return found


def test_the_file_that_the_sweep_ran_is_executed(info: SweepInfo, folder: Path) -> None:
    assert set(info.space_imports) == {f"beside_{folder.name}.py"}
    assert swept_trainables(None, info).gans
    assert (folder / "executed").exists()


@pytest.mark.parametrize("what", ["space", "beside", "no hash", "gone", "no colon"])
def test_another_file_in_its_place_is_not(info: SweepInfo, folder: Path, what: str) -> None:
    beside = folder / f"beside_{folder.name}.py"
    changed = folder / "space.py"
    if what == "space":
        changed.write_text(f"{changed.read_text()}\n")
    elif what == "beside":
        beside.write_text("WIDTH = 9\n")
        changed = beside
    elif what == "gone":
        beside.unlink()
        changed = beside
    else:
        name = info.space.partition(":")[0] if what == "no colon" else info.space
        info = info.model_copy(update={"space": name, "space_sha256": ""})
    with pytest.raises(ConfigError) as told:
        swept_trainables(None, info)
    assert str(told.value) == (
        f"{info.space}: the sweep's space is not executed: {changed.name} is not the file that the sweep ran; "
        "say with --space where it is now"
    )
    assert not (folder / "executed").exists()
    if what in ("space", "no hash"):
        assert swept_trainables(info.space, info).gans, "the user vouches for it"


def test_a_file_that_is_gone_is_told(info: SweepInfo, folder: Path) -> None:
    (folder / "space.py").unlink()
    with pytest.raises(ConfigError, match=r"the sweep's space is not executed: no such file; say with --space"):
        swept_trainables(None, info)
