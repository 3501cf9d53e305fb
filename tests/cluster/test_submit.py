"""Jobs on a real Ray cluster on this machine, behind a token."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gansweep.cli import main
from gansweep.cluster.submit import connect, submit_sweep
from gansweep.cohort.dataset import Cohort
from gansweep.errors import ClusterError
from gansweep.search.cohorts import find_cohort
from gansweep.store.store import Store
from tests.ports import free_port
from tests.values import sweep_options

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SPACE = """
from dataclasses import replace
from search_spaces.smoke import smoke

def mine():
    return smoke().with_settings({"iterations": 20})
"""


def test_a_job_does_not_show_the_secrets_of_its_storage(monkeypatch):
    """Everybody on the cluster sees the command of a job; the file with the URI travels with the code."""
    seen = {}

    class Client:
        def submit_job(self, entrypoint, runtime_env):
            seen["command"] = shlex.split(entrypoint)
            seen["environment"] = str(runtime_env)
            seen["file"] = Path(runtime_env["working_dir"], "storage.uri").read_text()
            return "raysubmit_1"

    monkeypatch.setattr("gansweep.cluster.submit.connect", lambda _: Client())
    uri = "s3://KEYID:s3cret@bucket/runs?region=x"
    assert submit_sweep("smoke", sweep_options(storage=uri)) == "raysubmit_1"
    assert "--storage=@storage.uri" in seen["command"]
    assert seen["file"] == uri
    for shown in (str(seen["command"]), seen["environment"]):
        assert "KEYID" not in shown
        assert "s3cret" not in shown


@pytest.fixture
def jobs(monkeypatch):
    """What was submitted: the words after the launcher, and the files beside them."""
    seen = []

    class Client:
        def submit_job(self, entrypoint, runtime_env):
            folder = Path(runtime_env["working_dir"])
            files = {entry.name: entry.read_text() for entry in folder.iterdir() if entry.is_file()}
            seen.append((shlex.split(entrypoint)[2:], files))
            return "raysubmit_1"

    monkeypatch.setattr("gansweep.cluster.submit.connect", lambda _: Client())
    return seen


@pytest.mark.parametrize("verb", ["repeat", "confirm"])
def test_leaders_are_trained_again_by_a_job(verb, jobs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_space.py").write_text(SPACE)
    words = ["submit", verb, "runs/fahr", "--leaders=3", "--space=my_space.py:mine", "--cohort=elsewhere", "--no-wait"]
    assert main(words) == 0
    ((ran, files),) = jobs
    expected = [verb, str(tmp_path / "runs/fahr"), "--leaders=3", f"--cohort={tmp_path / 'elsewhere'}"]
    assert sorted(ran) == sorted([*expected, "--space=my_space.py:mine"])
    assert files["my_space.py"] == SPACE
    assert f"watch it: gansweep status {tmp_path / 'runs/fahr'}, or ray job logs" in capfd.readouterr().out


def test_a_job_does_not_show_the_secrets_of_its_store(jobs, capfd):
    assert main(["submit", "repeat", "s3://KEYID:s3cret@bucket/runs/fahr?region=x", "--no-wait"]) == 0
    ((ran, files),) = jobs
    assert ran == ["repeat", "@storage.uri"]
    assert files["storage.uri"] == "s3://KEYID:s3cret@bucket/runs/fahr?region=x"
    assert "gansweep status s3://bucket/runs/fahr," in (shown := capfd.readouterr().out)
    assert "s3cret" not in shown


def test_a_store_is_read_from_a_file(tmp_path, capfd):
    (tmp_path / "store.uri").write_text(f"{tmp_path}/runs/none\n")
    assert main(["status", f"@{tmp_path / 'store.uri'}"]) == 2
    assert f"{tmp_path}/runs/none: not a sweep's store" in capfd.readouterr().err
    assert main(["status", f"@{tmp_path / 'nothing'}"]) == 2
    assert capfd.readouterr().err.startswith(f"error: STORE @{tmp_path / 'nothing'}: no such file")


def test_a_production_training_runs_as_a_job(jobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("config: {}\n")
    words = ["submit", "train", "c.yaml", "--cohort=cohort", "--out=made", "--workers=2", "--set=lr_d=1e-4"]
    assert main([*words, "--no-wait"]) == 0
    ((ran, files),) = jobs
    places = [f"--cohort={tmp_path / 'cohort'}", f"--out={tmp_path / 'made'}"]
    assert ran == ["train", "config.yaml", *places, "--workers=2", "--set=lr_d=1e-4"]
    assert files["config.yaml"] == "config: {}\n"


def test_a_training_without_its_configuration_is_not_submitted(jobs, tmp_path, capfd):
    assert main(["submit", "train", f"{tmp_path}/no.yaml", "--cohort=c", "--out=o"]) == 2
    assert capfd.readouterr().err == (f"error: {tmp_path}/no.yaml: no such file; `gansweep export` writes one\n")
    assert not jobs


def test_a_cohort_that_is_here_travels_through_the_storage(jobs, cohort_path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    words = ["submit", "sweep", "smoke", f"--cohort={cohort_path}", f"--storage={tmp_path / 'runs'}"]
    assert main([*words, "--name=x", "--trials=1", "--no-wait"]) == 0
    assert main([*words, "--name=x", "--trials=1", "--no-wait", "--no-copy-cohort"]) == 0
    (ran, _), (without, _) = jobs
    (place,) = (word.removeprefix("--cohort=") for word in ran if word.startswith("--cohort="))
    assert f"--cohort={cohort_path}" in without
    found = find_cohort(place, str(tmp_path / "runs"))
    assert found.path.is_relative_to(tmp_path / "node")
    assert found.content_hash == Cohort.open(cohort_path).content_hash


def test_no_cohort_is_told_before_anything_is_submitted(jobs, tmp_path, capfd):
    words = ["submit", "smoke", f"--cohort={tmp_path}", f"--storage={tmp_path / 'runs'}", "--name=x", "--trials=1"]
    assert main(words) == 2
    assert f"{tmp_path}: not a cohort (cohort.json is missing)" in capfd.readouterr().err
    assert not jobs


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nonsense"])
def test_no_cluster_there(address):
    with pytest.raises(ClusterError, match=f"no Ray cluster at {address}"):
        connect(address)


def test_a_password_in_an_address_is_not_told():
    with pytest.raises(ClusterError, match=r"no Ray cluster at http://127\.0\.0\.1:9") as told:
        connect("http://user:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(told.value)


def test_a_wrong_space_is_told_before_anything_is_submitted(capfd, tmp_path):
    words = ["submit", "fahr_cd", f"--cohort={tmp_path}", f"--storage={tmp_path}", "--name=x", "--trials=1"]
    assert main([*words, "--address=http://127.0.0.1:9"]) == 2
    assert "did you mean fahr_ct" in capfd.readouterr().err


def test_a_submission_without_a_cluster_is_one_line(capfd, tmp_path):
    words = ["submit", "smoke", f"--cohort={tmp_path}", f"--storage={tmp_path}", "--name=x", "--trials=1"]
    assert main([*words, "--address=http://127.0.0.1:9"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster with a token of its own; yields its address and the environment of a user who has the token."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("RAY_AUTH_MODE", None)
    environment.pop("RAY_ADDRESS", None)
    subprocess.run([BIN / "ray", "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    port, dashboard = free_port(), free_port()
    # Sockets' paths must be short, so not under pytest's own folder. Started in the foreground, Ray ends with it.
    folder = Path(f"/tmp/gansweep-ray-{os.getpid()}")
    ray_start = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"]
    # Every port is a free one, so that another cluster on this machine is not in the way.
    where = [f"--port={port}", f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir={folder}"]
    head = subprocess.Popen(
        [
            *ray_start,
            "--node-ip-address=127.0.0.1",
            *where,
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
        ],
        # Ray by its full path: no `python` of this environment is on the cluster's own.
        env={key: value for key, value in environment.items() if key not in {"PYTHONPATH", "PATH"}}
        | {"RAY_AUTH_MODE": "token", "PATH": os.defpath},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_for(address, environment, head)
        yield address, environment
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address, environment, head):
    # The server answers before the node's agent, which starts jobs, is up.
    code = f"from gansweep.cluster.submit import connect; connect({address!r}).submit_job(entrypoint='true')"
    for _ in range(30):
        assert head.poll() is None, "ray start ended"
        if (
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode
            == 0
        ):
            return
        time.sleep(1)
    pytest.fail("the cluster did not come up")


def submit(cluster, folder, *words):
    address, environment = cluster
    command = [sys.executable, "-m", "gansweep.cli", "submit", *words, f"--address={address}", "--json"]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.acceptance
@pytest.mark.ray
def test_a_sweep_runs_as_a_job_from_the_uploaded_code(cluster, tmp_path):
    """The space is the user's own file, the paths are relative, and two workers share the trial."""
    environment = cluster[1]
    for words in (
        ["phantom", "scans", "--patients=20", "--slices=2", "--size=64"],
        ["ingest", "scans", "cohort", "--size=32"],
    ):
        command = [sys.executable, "-m", "gansweep.cli", *words]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "my_space.py").write_text(SPACE)
    options = ["--cohort=cohort", "--storage=runs", "--name=job", "--workers-per-trial=2"]

    ran = submit(cluster, tmp_path, "my_space.py:mine", *options, "--trials=2")

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["status"] == "SUCCEEDED"
    assert "trial 0000" in ran.stderr  # the job's log came here
    trials = Store.open(str(tmp_path / "runs" / "job")).latest_trials()
    assert len(trials) == 2
    assert set(trials["status"]) <= {"completed", "stopped"}

    again = submit(cluster, tmp_path, "my_space.py:mine", *options, "--trials=2")
    assert again.returncode == 2  # the job's own exit status: the sweep exists and --resume was not given
    assert json.loads(again.stdout)["status"] == "FAILED"


@pytest.mark.acceptance
@pytest.mark.ray
def test_a_job_of_a_checkout_runs_the_checkouts_code(cluster, tmp_path):
    """`ray job submit --working-dir .`, where another gansweep is installed: driver and workers run this one."""
    address, environment = cluster
    checkout = tmp_path / "checkout"
    for name in ("platform", "trainables", "search_spaces"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    registry = checkout / "platform" / "gansweep" / "scoring" / "metrics" / "registry.py"
    registry.write_text(registry.read_text().replace('"brier"', '"of_the_checkout"'))
    for words in (
        ["phantom", "scans", "--patients=20", "--slices=2", "--size=64"],
        ["ingest", "scans", "cohort", "--size=32"],
    ):
        command = [sys.executable, "-m", "gansweep.cli", *words]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    places = [f"--cohort={tmp_path / 'cohort'}", f"--storage={tmp_path / 'runs'}", "--name=direct", "--trials=1"]
    command = [BIN / "ray", "job", "submit", f"--address={address}", "--working-dir=.", "--"]
    ran = subprocess.run(
        [*command, sys.executable, "-m", "gansweep", "sweep", "smoke", *places, "--set", "iterations=20"],
        env=environment | {"RAY_AUTH_MODE": "token"},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    trial = Store.open(str(tmp_path / "runs" / "direct")).latest_trials().iloc[0]
    assert trial["status"] == "completed"
    assert trial["of_the_checkout"] >= 0


@pytest.mark.acceptance
@pytest.mark.ray
def test_a_stranger_is_turned_away(cluster, tmp_path):
    address, environment = cluster
    stranger = (address, environment | {"HOME": str(tmp_path)})
    ran = submit(stranger, tmp_path, "smoke", "--cohort=c", "--storage=s", "--name=n", "--trials=1")
    assert ran.returncode == 2
    assert "does not accept our token" in ran.stderr
