import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from gansweep.errors import ConfigError, StoreError
from gansweep.report import dashboard
from gansweep.report.dashboard import serve_dashboard
from gansweep.store.artifacts import StoreArtifacts
from gansweep.store.store import Store


@pytest.fixture(scope="module")
def served(finished, tmp_path_factory):
    """The dashboard in a process of its own, ended as a user ends it."""
    copy = tmp_path_factory.mktemp("copy") / "fahr"
    shutil.copytree(finished.local, copy)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "gansweep.cli", "dashboard", str(copy), "--port=0", "--json"]
    # A shell's background jobs, and so their children, ignore SIGINT until told otherwise.
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, env=environment, preexec_fn=heard, **pipes)
    document = "".join(server.stdout.readline() for _ in range(3))
    yield json.loads(document)["url"].rstrip("/")
    server.send_signal(signal.SIGINT)
    rest, said = server.communicate(timeout=120)
    assert (server.returncode, rest) == (0, "")
    assert said.splitlines()[-1] == "dashboard ended"


def _get(url):
    with urllib.request.urlopen(url, timeout=120) as answer:
        return answer.read(), answer.headers


def test_it_listens_on_this_machine_alone(served):
    assert served.startswith("http://127.0.0.1:")


def test_each_trial_shows_its_sample_sheet(served, finished):
    study = json.loads(_get(f"{served}/api/studies/1?after=0")[0])
    listed = {trial["number"]: [item["artifact_id"] for item in trial["artifacts"]] for trial in study["trials"]}
    assert listed[0] == ["0000"]
    assert listed[3] == [], "a diverged trial made no sheet"
    picture, headers = _get(f"{served}/artifacts/1/1/0000")
    assert headers["Content-Type"] == "image/png"
    assert picture == finished.read_bytes("artifacts/0000.png")


def test_the_sweeps_figures_and_names_are_there(served):
    study = json.loads(_get(f"{served}/api/studies/1?after=0")[0])
    assert {graph["id"] for graph in study["plotly_graph_objects"]} >= {"objectives", "learning-curves", "history"}
    names = json.loads(_get(f"{served}/api/studies")[0])["study_summaries"][0]["directions"]
    assert names == ["minimize", "maximize"]


def test_a_store_that_cannot_be_written_is_served_from_a_copy(finished, tmp_path, monkeypatch, caplog):
    """The sheets and figures go into the study, which a colleague may only read."""
    shutil.copytree(finished.local, tmp_path / "fahr")
    store = Store.open(tmp_path / "fahr")
    before = store.study_path.read_bytes()
    monkeypatch.setattr("os.access", lambda path, *_: not Path(path).is_relative_to(tmp_path))
    with dashboard._with_writable_study(store) as served:
        dashboard.prepare_dashboard(served)
        assert "answer" in served.load_study().user_attrs
        assert StoreArtifacts(served).open_reader("0000").read() == finished.read_bytes("artifacts/0000.png")
        assert len(served.load_study().trials) == 14
        copy = served.local
    assert not copy.exists()
    assert (store.study_path.read_bytes(), len(store.trials())) == (before, 14)
    assert "cannot be written: this is a copy of its study" in caplog.text
    monkeypatch.undo()
    with dashboard._with_writable_study(store) as served:
        assert served is store


def test_an_idle_connection_does_not_stop_it(served):
    host, port = served.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))):
        assert _get(f"{served}/api/studies")[0]


def test_an_address_that_cannot_be_used_is_told_in_one_line(finished):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken; choose another with --port"):
            serve_dashboard(finished, port=port, ready=print)
    with pytest.raises(ConfigError, match="port 99999 does not exist"):
        serve_dashboard(finished, port=99999, ready=print)


def test_an_error_does_not_end_the_renewing_and_is_told_once_until_it_is_over(finished, monkeypatch, caplog):
    over = threading.Event()
    down, locked = StoreError("cannot read: network is down", where="s3://bucket/fahr"), ValueError()
    results = [None, down, down, None, locked, down]

    def prepare(_):
        result = results.pop(0)
        if not results:
            over.set()
        if result is not None:
            raise result

    monkeypatch.setattr(dashboard, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(dashboard, "prepare_dashboard", prepare)
    dashboard._keep_current(finished, over)
    earlier = "the dashboard shows an earlier state until this is over: "
    assert caplog.messages == [f"{earlier}s3://bucket/fahr: cannot read: network is down", f"{earlier}ValueError"]
    assert results == []


def test_a_sweep_without_a_study_has_no_dashboard(empty):
    with pytest.raises(StoreError, match="no Optuna study here yet"):
        serve_dashboard(empty, port=0, ready=print)
