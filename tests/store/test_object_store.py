"""A store on S3: moto's server, spoken to over HTTP."""

import os
from pathlib import Path
from threading import Thread

import boto3
import optuna
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from gansweep.errors import StoreError
from gansweep.store.filesystem import Files
from gansweep.store.store import Store
from gansweep.store.uris import without_credentials


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def storage(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = f"bucket-{os.urandom(4).hex()}"
    boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/sweeps?endpoint_override={endpoint}&scheme=http&region=us-east-1"


@pytest.fixture
def remote(storage, info):
    return Store.create(storage, "first", info)


def test_rows_survive_on_s3_and_pandas_reads_them(remote, trial, report):
    remote.write_trial(trial(0, status="running"))
    remote.write_trial(trial(0, scores={"fid": 3.0, "kid": 0.25}))
    remote.write_trial(trial(1, scores={"mind": 7.0}))
    remote.write_report(report(0, 0))
    remote.write_report(report(0, 1))
    again = Store.open(remote.uri)
    assert again.trials()["status"].tolist() == ["completed", "completed"]
    assert again.reports()["index"].tolist() == [0, 1]
    files = Files(remote.uri)
    raw = pd.read_parquet(files.path("trials"), filesystem=files.filesystem)
    assert raw["kid"].tolist()[0] == 0.25
    assert raw["mind"].tolist()[1] == 7.0
    remote.compact()
    pd.testing.assert_frame_equal(Store.open(remote.uri).trials(), again.trials())


def test_a_column_a_concurrent_writer_dropped_comes_back(remote, trial):
    mine, theirs = Store.open(remote.uri), Store.open(remote.uri)
    without = mine.read_bytes("trials/schema.parquet")
    mine.write_trial(trial(0, scores={"kid": 1.0}))
    mine.write_bytes("trials/schema.parquet", without)  # what the slower of two simultaneous writers leaves
    theirs.write_trial(trial(1, scores={"mind": 2.0}))
    mine.write_trial(trial(2, scores={"kid": 3.0}))
    assert mine.trials()["kid"].tolist()[::2] == [1.0, 3.0]
    assert mine.trials()["mind"].tolist()[1] == 2.0
    mine.write_bytes("trials/schema.parquet", without)
    mine.compact()
    assert mine.trials()["kid"].tolist()[::2] == [1.0, 3.0]


def test_the_study_is_worked_on_locally_and_mirrored(remote, tmp_path, monkeypatch):
    study = remote.create_study()
    study.add_trial(optuna.create_trial(values=[1.0, 0.5]))
    assert not remote.exists("studies.db")
    remote.sync_study()
    study.add_trial(optuna.create_trial(values=[2.0, 0.6]))
    assert len(Store.open(remote.uri).load_study().trials) == 2, "this machine's copy is ahead of the mirror"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    elsewhere = Store.open(remote.uri)
    assert len(elsewhere.load_study().trials) == 1
    elsewhere.load_study().add_trial(optuna.create_trial(values=[3.0, 0.7]))
    elsewhere.load_study().add_trial(optuna.create_trial(values=[4.0, 0.8]))
    elsewhere.sync_study()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(Store.open(remote.uri).load_study().trials) == 3, "another machine's newer mirror wins"


def test_a_reader_beside_the_driver_leaves_its_study_alone(remote, monkeypatch):
    study = remote.create_study()

    def end_a_trial():
        study.add_trial(optuna.create_trial(values=[1.0, 0.5]))
        remote.sync_study()

    end_a_trial()
    reader, read, trials_end = Store.open(remote.uri), Files.read_bytes, []

    def slow(files, rel):
        content = read(files, rel)
        trials_end.append(Thread(target=lambda: [end_a_trial() for _ in range(3)]))
        trials_end[0].start()
        trials_end[0].join(2.0)
        assert trials_end[0].is_alive(), "the driver waits for a reader that may replace its study"
        return content

    with monkeypatch.context() as slowed:
        slowed.setattr(Files, "read_bytes", slow)
        reader.load_study()
    trials_end[0].join()
    end_a_trial()
    assert len(study.trials) == len(Store.open(remote.uri).load_study().trials) == 5
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"] + " of another machine")
    assert len(Store.open(remote.uri).load_study().trials) == 5


def test_no_earlier_mirror_replaces_the_working_copy(remote):
    study, mirrors = remote.create_study(), []
    for _ in range(4):
        study.add_trial(optuna.create_trial(values=[1.0, 0.5]))
        remote.sync_study()
        mirrors.append(remote.read_bytes("studies.db"))
    for earlier in mirrors:
        remote.write_bytes("studies.db", earlier)  # as a download that began before the later trials ended gives it
        assert len(Store.open(remote.uri).load_study().trials) == 4


def test_a_storage_that_is_served_shows_what_a_later_mirror_brings(remote, monkeypatch):
    study = remote.create_study()
    study.add_trial(optuna.create_trial(values=[1.0, 0.5]))
    remote.sync_study()
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"] + " of another machine")
    elsewhere = Store.open(remote.uri)
    served = elsewhere.study_storage()
    number = served.get_study_id_from_name("first")
    assert len(served.get_all_trials(number)) == 1
    for known in (2, 3):
        study.add_trial(optuna.create_trial(values=[1.0, 0.5]))
        remote.sync_study()
        elsewhere.load_study().set_user_attr("shown", known)
        assert len(served.get_all_trials(number)) == known
        assert served.get_study_user_attrs(number) == {"shown": known}


def test_a_deleted_sweep_does_not_come_back_to_life(remote, storage, info):
    remote.create_study().add_trial(optuna.create_trial(values=[1.0, 0.5]))
    remote.sync_study()
    files = Files(remote.uri)
    files.filesystem.delete_dir_contents(files.root)
    assert Store.create(storage, "first", info).create_study().trials == []


def test_an_upload_that_fails_costs_no_trial(remote, monkeypatch):
    study = remote.create_study()
    remote.sync_study()
    study.add_trial(optuna.create_trial(values=[1.0, 0.5]))

    def refuse(*_):
        raise OSError("network is down")

    with monkeypatch.context() as broken:
        broken.setattr(Files, "_put", refuse)
        with pytest.raises(StoreError, match="network is down"):
            remote.sync_study()
    assert len(Store.open(remote.uri).load_study().trials) == 1


def test_files_come_and_go(remote):
    remote.write_bytes("checkpoints/0000.pt", b"weights")
    assert remote.read_bytes("checkpoints/0000.pt") == b"weights"
    assert [(entry.name, entry.size) for entry in remote.list("checkpoints")] == [("0000.pt", 7)]
    remote.delete("checkpoints/0000.pt")
    remote.delete("checkpoints/0000.pt")
    assert not remote.exists("checkpoints/0000.pt")
    with pytest.raises(StoreError, match="cannot read"):
        remote.read_bytes("checkpoints/0000.pt")


def test_a_missing_bucket_is_told_in_one_line(storage, info):
    with pytest.raises(StoreError, match=r"s3://nowhere/first.*cannot write") as error:
        Store.create(storage.replace(storage.split("/")[2], "nowhere").replace("/sweeps", ""), "first", info)
    assert "\n" not in str(error.value)


def test_messages_hold_no_credentials():
    assert without_credentials("s3://key:secret@bucket/x?endpoint_override=y") == "s3://bucket/x"


@pytest.mark.parametrize("uri", ["nonsense://bucket/x", "s3://bucket/x?colour=blue"])
def test_a_uri_nobody_understands_is_an_error(uri):
    with pytest.raises(StoreError, match="cannot read"):
        Store.open(uri)


def test_any_fsspec_file_system_holds_a_store(info, trial):
    store = Store.create("memory://sweeps", "first", info)
    store.write_trial(trial(0))
    assert Store.open(store.uri).trials()["fid"].tolist() == [10.0]
    assert Files(store.uri).local is None


def test_a_failed_write_leaves_no_temporary_file(tmp_path):
    (tmp_path / "sweep.json").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        Files(str(tmp_path)).write_bytes("sweep.json", b"{}")
    assert [entry.name for entry in Path(tmp_path).iterdir()] == ["sweep.json"]
