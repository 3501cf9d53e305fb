"""A patient in two splits stops everything, whoever opens the cohort."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort, CohortInfo, write_record
from gansweep.config import Objective
from gansweep.files import sha256_of
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo

SPACE = Path(__file__).with_name("tiny_space.py")


@pytest.fixture
def leaking(cohort_path: Path, tmp_path: Path) -> Path:
    """A test image of one patient counted as training, and the file's recorded hash put right."""
    folder = shutil.copytree(cohort_path, tmp_path / "leaking")
    path = folder / "manifest.parquet"
    before, manifest = sha256_of(path), pd.read_parquet(path)
    manifest.loc[manifest.index[manifest["split"] == "test"][0], "split"] = "train"
    manifest.to_parquet(path, index=False)
    record = (folder / "cohort.json").read_text().replace(before, sha256_of(path))
    write_record(CohortInfo.model_validate_json(record), folder)
    return folder


@pytest.fixture
def swept(cohort_path: Path, tmp_path: Path) -> Store:
    """A sweep of the cohort as it was before."""
    sound = Cohort.open(cohort_path)
    info = SweepInfo(
        name="s",
        experiment={"name": "tiny"},
        space=f"{SPACE}:tiny",
        cohort=CohortReference(
            path=str(cohort_path), content_hash=sound.content_hash, classes=sound.info.classes, patients={}, images={}
        ),
        objectives=(Objective(name="fid", direction="minimize"),),
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return Store.create(str(tmp_path / "runs"), "s", info)


def test_a_space_that_has_moved_is_asked_for(swept: Store, capfd: pytest.CaptureFixture[str]) -> None:
    info = json.loads(swept.read_bytes("sweep.json")) | {"space": "moved.py:tiny"}
    swept.write_bytes("sweep.json", json.dumps(info).encode())
    assert main(["confirm", swept.uri]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1, said
    assert "moved.py" in said
    assert "--space" in said


def test_sweep_and_confirm_refuse_it(
    leaking: Path, swept: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, exit status 2; no trial and no look at the test patients."""
    sweep = ["sweep", f"{SPACE}:tiny", f"--cohort={leaking}", f"--storage={tmp_path}", "--name=n", "--trials=1"]
    for words in (sweep, ["confirm", swept.uri, f"--cohort={leaking}", f"--space={SPACE}:tiny"]):
        assert main(words) == 2
        said = capfd.readouterr().err
        assert said.count("\n") == 1, said
        assert "is in two splits" in said
    assert not (tmp_path / "n").exists()
    assert not json.loads(swept.read_bytes("sweep.json"))["test_openings"]
