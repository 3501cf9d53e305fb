"""What travels to a cluster."""

import shutil
import subprocess
import sys

import pytest

from gansweep._version import __version__
from gansweep.cluster.package import LAUNCHER, PACKAGES, stage_code
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
    assert {entry.name for entry in staged.iterdir()} == {*PACKAGES, LAUNCHER, "space.py"}
    assert not [path for path in staged.rglob("*") if path.suffix in {".dcm", ".csv", ".pyc"}]


def launched(folder, *words, parent=()):
    """Runs the job's launcher where no `python` can be found.

    `parent` are arguments of the process that starts it.
    """
    tools = folder / "bin"
    tools.mkdir()
    for name in ("tr", "sed"):
        (tools / name).symlink_to(shutil.which(name))
    start = f"import subprocess, sys; sys.exit(subprocess.call(['/bin/sh', {LAUNCHER!r}, *{words!r}]))"
    command = [sys.executable, "-c", start, *parent]
    where = {"PATH": str(tools)}
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)


def test_the_launcher_finds_the_interpreter_of_the_cluster(tmp_path):
    """`ray` was started by its full path, and `python` is another one or none."""
    stage_code("smoke", tmp_path)
    worker = f"--python_worker_command={sys.executable} default_worker.py"
    ran = launched(tmp_path, "--version", parent=[worker])
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith(__version__)


def test_the_launcher_says_that_there_is_no_ray(tmp_path):
    stage_code("smoke", tmp_path)
    ran = launched(tmp_path, "--version")
    assert ran.returncode == 2
    assert ran.stderr == "error: python on the head node has no Ray: start ray from an activated environment\n"


def test_a_space_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such file"):
        stage_code("nowhere.py:space", tmp_path)
