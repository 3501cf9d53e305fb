"""The wheel: what is in it, and that it works away from the repository."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(out), str(ROOT)], check=True, capture_output=True, text=True)
    (built,) = out.glob("gansweep-*.whl")
    return built


def sources(*folders):
    """Every Python file of the packages, as the wheel should name it."""
    return {
        path.relative_to(ROOT / folder).as_posix()
        for folder, package in folders
        for path in (ROOT / folder / package).rglob("*.py")
    }


def test_holds_every_module_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    python = {name for name in names if name.endswith(".py")}
    assert python == sources(("platform", "gansweep"), (".", "trainables"), (".", "search_spaces"))
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"gansweep", "trainables", "search_spaces"}  # no `platform`: it would shadow the standard library's
    assert "gansweep/report/report.html.j2" in names


def test_names_the_command_the_licence_and_the_dependencies(wheel):
    archive = zipfile.ZipFile(wheel)
    found = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
    assert "gansweep = gansweep.cli:main" in archive.read(found["entry_points.txt"]).decode()
    assert "Apache License" in archive.read(found["LICENSE"]).decode()
    metadata = archive.read(found["METADATA"]).decode()
    assert "Requires-Dist: ray[default,train,tune]" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_constraints_pin_every_direct_dependency():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (requirement for extra in project["optional-dependencies"].values() for requirement in extra)
    wanted = [*project["dependencies"], *(name for name in extras if not name.startswith("gansweep["))]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] not in {"", "#"}]
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}
    for requirement in map(Requirement, wanted):
        pin = pins[canonicalize_name(requirement.name)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version), f"{pin} does not satisfy {requirement}"


def test_no_package_shadows_the_standard_library():
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not list((ROOT / "platform").rglob("test_*.py"))


@pytest.mark.acceptance
@pytest.mark.ray
def test_a_sweep_runs_from_the_wheel_in_a_folder_of_its_own(wheel, tmp_path):
    """A new environment with the wheel; the dependencies are those of this one, by a path file."""
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    (site,) = (home / "lib").glob("python*/site-packages")
    ours = next(path for path in map(Path, sys.path) if (path / "ray").is_dir() and path.name == "site-packages")
    # Added after the wheel's own files; an editable install of ours is a path file there, which is not followed.
    (site / "dependencies.pth").write_text(f"{ours}\n")
    work = tmp_path / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def gansweep(*words):
        ran = subprocess.run(
            [home / "bin" / "gansweep", *words, "--json"],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    where = subprocess.run(
        [python, "-c", "import gansweep, trainables; print(gansweep.__file__, trainables.__file__)"],
        cwd=work, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.count(str(site)) == 2
    gansweep("phantom", "scans", "--patients=20", "--slices=2", "--size=64")
    gansweep("ingest", "scans", "cohort", "--size=32")
    swept = gansweep(
        "sweep", "smoke", "--cohort=cohort", "--storage=runs", "--name=w", "--trials=1", "--workers-per-trial=2",
        "--set=iterations=20",
    )  # fmt: skip
    assert swept["trials"] == {"completed": 1}
    assert gansweep("leaderboard", "runs/w")[0]["rank"] == 1
