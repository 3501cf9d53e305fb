"""The secrets of a storage URI appear in no record, in no log and in no state of Ray's."""

from pathlib import Path
from typing import Any

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, validated
from gansweep.errors import ConfigError, GansweepError
from gansweep.options import SweepOptions
from gansweep.search.cluster import Footprint
from gansweep.search.spaces import load_space
from gansweep.search.worker import WorkerGroupSettings
from gansweep.search.worker_group import WorkerGroup
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from tests.values import sweep_options
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


def test_a_storage_can_be_named_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "storage.uri").write_text(f"{URI}\n")
    assert sweep_options(storage=f"@{tmp_path / 'storage.uri'}").storage == URI
    values: dict[str, Any] = {**sweep_options().model_dump(by_alias=True), "storage": "@nowhere"}
    with pytest.raises(ConfigError, match="storage = '@nowhere': no such file, or no text"):
        validated(SweepOptions, values, where="sweep")
