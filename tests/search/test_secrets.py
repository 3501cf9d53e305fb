"""The secrets of a storage URI appear in no record, in no log and in no state of Ray's."""

import logging
from pathlib import Path
from typing import Any

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, TrialConfig, validated
from gansweep.errors import ConfigError, GansweepError, StoreError
from gansweep.options import SweepOptions
from gansweep.search.cluster import Footprint
from gansweep.search.spaces import load_space
from gansweep.search.worker import WorkerGroupSettings
from gansweep.search.worker_group import WorkerGroup
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
from tests.store.failing import flaky_s3, objects_of
from tests.values import report_of, sweep_options
from trainables import TRAINABLES

URI = "s3://KEYID:s3cr/et@bucket/runs?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1&secret_key=other"
SECRETS = ("KEYID", "s3cr/et", "secret_key", "other")


def _clean(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text, f"{secret} in {text}"


def test_options_do_not_show_their_storage(cohort_path: Path) -> None:
    options = sweep_options(storage=URI, cohort=cohort_path)
    _clean(repr(options))
    _clean(str(options.recorded()))
    info = describe_sweep(load_space("smoke"), Cohort.open(cohort_path), options, space="smoke")
    _clean(info.model_dump_json())


def test_an_error_does_not_show_it() -> None:
    uri = URI.replace("s3cr/et", "s3cret").replace("&secret_key=other", "")
    with pytest.raises(GansweepError) as told:
        Store.open(f"{uri.partition('?')[0]}/s?{uri.partition('?')[2]}")
    for secret in ("KEYID", "s3cret"):
        assert secret not in str(told.value)


def test_ray_is_not_told_it() -> None:
    uri = "s3://KEYID:s3cret@bucket/runs/s?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    settings = WorkerGroupSettings(uri, "c", "c", TRAINABLES, ScoringSettings(), reports=1)
    group = object.__new__(WorkerGroup)
    group._settings = settings
    group._footprint = Footprint()
    group._mailbox = None
    trainer = group._trainer()
    for shown in (settings, trainer.run_config.storage_path, trainer.train_loop_config):
        assert "KEYID" not in str(shown)
        assert "s3cret" not in str(shown)
    assert trainer.run_config.storage_path == "bucket/runs/s/ray"
    assert trainer.run_config.storage_filesystem.type_name == "s3"


def test_no_file_of_a_store_has_it(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All that the driver of a sweep writes, on a server that takes any key: the one in the URI is the only one."""
    key, secret = "AKIAKEYOFATEST", "s3cret0fAT3st"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with flaky_s3(monkeypatch) as (server, storage), caplog.at_level(logging.DEBUG):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        storage = storage.replace("s3://", f"s3://{key}:{secret}@")
        experiment = load_space("smoke")
        options = sweep_options(storage=storage, cohort=cohort_path, name="kept")
        info = describe_sweep(experiment, Cohort.open(cohort_path), options, space="smoke")
        store = Store.create(options.storage, "kept", info)
        with store.exclusive():
            study = store.create_study()
            store.write_trial(TrialRow("0000", 0, "completed", TrialConfig(), started=info.created))
            store.write_report(ReportRow("0000", 0, report_of(0)))
            store.checkpoint("0000").write({"config": {}})
            store.write_bytes("trials/trial-0001.0.parquet", b"damaged")
            store = Store.open(store.uri)
            store.rows()
            store.set_aside_damaged()
            study.set_user_attr("answer", "none")
            store.update_info(notes={"storage": options.recorded()})
            store.compact()
            store.sync_study()
        server.answer = 403
        with pytest.raises(StoreError, match=r"^s3://bucket/runs/kept/") as told:
            store.rows()
        server.answer = 0
        written = objects_of(server)
    names = {name.removeprefix("runs/kept/").partition("/")[0] for name in written}
    assert {"sweep.json", "sweep.copy.json", ".driver", "studies.db", "trials", "reports", "checkpoints"} <= names
    texts = [
        name.encode() + repr(answer["Metadata"]).encode() + answer["Body"].read() for name, answer in written.items()
    ]
    texts += [path.read_bytes() + str(path).encode() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    # Loggers of other libraries show what they are asked; only the platform's go to a driver's log.
    texts += [record.getMessage().encode() for record in caplog.records if record.name.startswith("gansweep")]
    texts += [repr(store).encode(), store.label.encode(), str(told.value).encode()]
    assert any(b"damaged" in text for text in texts)
    for text in texts:
        for hidden in (key, secret):
            assert hidden.encode() not in text, text[:200]


def test_no_credentials_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """S3 forbids what is not signed. Nothing is waited for: it will not change."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with flaky_s3(monkeypatch) as (server, storage):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        server.answer = 403
        for begin in (Store.begun, lambda where, name: Store.open(where.replace("?", f"/{name}?"), patience_s=60.0)):
            with pytest.raises(StoreError) as told:
                begin(storage, "s")
            assert str(told.value).startswith("s3://bucket/runs/s/sweep.json: cannot read: ")
            assert "ACCESS_DENIED" in str(told.value)
            assert str(told.value).endswith("; check the path and the permissions")
            assert "\n" not in str(told.value)
    assert not [record for record in caplog.records if record.name.startswith("gansweep")]


def test_a_storage_can_be_named_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "storage.uri").write_text(f"{URI}\n")
    assert sweep_options(storage=f"@{tmp_path / 'storage.uri'}").storage == URI
    values: dict[str, Any] = {**sweep_options().model_dump(by_alias=True), "storage": "@nowhere"}
    with pytest.raises(ConfigError, match="storage = '@nowhere': no such file, or no text"):
        validated(SweepOptions, values, where="sweep")
