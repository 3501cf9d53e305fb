"""What travels to a cluster."""

import subprocess
import sys

import pytest

from gansweep.cluster.package import PACKAGES, stage_code
from gansweep.errors import ConfigError


def test_staged_code_runs_without_the_repository(tmp_path):
    stage_code("smoke", tmp_path)
    code = (
        "import platform, gansweep, trainables, search_spaces, gansweep.cli;"
        "print(platform.python_version(), gansweep.__file__)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert str(tmp_path) in ran.stdout


def test_only_code_travels(tmp_path):
    """Scans beside the user's space file stay where they are."""
    mine = tmp_path / "mine"
    (mine / "scans").mkdir(parents=True)
    (mine / "scans" / "patient.dcm").write_bytes(b"secret")
    (mine / "notes.csv").write_text("name")
    (mine / "space.py").write_text("def mine(): ...\n")
    staged = tmp_path / "staged"
    staged.mkdir()

    reference = stage_code(f"{mine / 'space.py'}:mine", staged)

    assert reference == "space.py:mine"
    assert {entry.name for entry in staged.iterdir()} == {*PACKAGES, "space.py"}
    assert not [path for path in staged.rglob("*") if path.suffix in {".dcm", ".csv", ".pyc"}]


def test_a_space_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such file"):
        stage_code("nowhere.py:space", tmp_path)
