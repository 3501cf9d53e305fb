"""A study in PostgreSQL: a real server, from Debian's package."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gansweep.config import Objective
from gansweep.errors import ConfigError, StoreError
from gansweep.store.store import Store
from gansweep.store.study_database import STUDY_VARIABLE, place_of
from gansweep.store.sweep_info import CohortReference, SweepInfo
from tests.store.postgres import PASSWORD, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import optuna


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres() as given:
        yield given


def _info(url: str, minute: int = 0) -> SweepInfo:
    return SweepInfo(
        name="s",
        experiment={"name": "smoke"},
        space="smoke",
        cohort=CohortReference(path="/data/cohort", content_hash="ab" * 32, classes=("control", "fahr")),
        objectives=(Objective(name="fid", direction="minimize"), Objective(name="accuracy", direction="maximize")),
        created=datetime(2026, 1, 2, 3, minute, tzinfo=UTC),
        study=place_of(url),
    )


def _run(study: optuna.Study, count: int) -> None:
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, [trial.suggest_float("lr", 0.0, 1.0), 0.5])


def test_a_study_lives_in_the_database_and_no_secret_in_the_store(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(str(tmp_path), "s", _info(url), study=url)
    _run(store.create_study(), 3)
    assert store.load_study().metric_names == ["fid", "accuracy"]
    assert len(store.load_study().trials) == 3
    store.sync_study()
    assert not list(tmp_path.rglob("*.db"))
    assert json.loads(store.read_bytes("sweep.json"))["study"] == url.replace(f"sweeps:{PASSWORD}@", "")
    assert all(PASSWORD not in path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())

    again = Store.open(store.uri)
    with pytest.raises(StoreError, match=r"its study is in postgresql://127\.0\.0\.1:\d+/postgres, but no URL"):
        again.load_study()
    monkeypatch.setenv(STUDY_VARIABLE, url)
    assert len(Store.open(store.uri).load_study().trials) == 3


def test_sweeps_of_one_name_do_not_share_a_study(url: str, tmp_path: Path) -> None:
    stores = [Store.create(str(tmp_path / str(n)), "s", _info(url, minute=n + 1), study=url) for n in range(2)]
    for count, store in enumerate(stores, start=1):
        _run(store.create_study(), count)
    assert [len(store.load_study().trials) for store in stores] == [1, 2]


def test_a_study_that_is_replaced_is_kept_beside(url: str, tmp_path: Path) -> None:
    store = Store.create(str(tmp_path), "s", _info(url, minute=10), study=url)
    _run(study := store.create_study(), 2)
    first = study.trials[:1]
    made = store.replace_study(first)
    assert len(made.trials) == 1
    store.replace_study(first * 3)
    assert len(store.load_study().trials) == 3
    names = {summary.study_name for summary in store.study_storage().get_all_studies()}
    assert {made.study_name, f"{made.study_name}.before"} <= names


def test_a_sweep_moves_its_study_into_the_database(url: str, tmp_path: Path) -> None:
    info = _info(url, minute=20)
    Store.create(str(tmp_path), "s", info.model_copy(update={"study": ""})).create_study()
    moved = Store.create(str(tmp_path), "s", info, exist_ok=True, study=url)
    assert moved.create_study().trials == []
    kept = Store.create(str(tmp_path), "s", info.model_copy(update={"study": ""}), exist_ok=True, study=url)
    assert kept.info.study == place_of(url), "without --study it goes on where it is"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ((PASSWORD, "other"), 'password authentication failed for user "sweeps"'),
        (("/postgres", "/none"), 'database "none" does not exist'),
        (("127.0.0.1:", "127.0.0.1:1"), "the study cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(
    url: str, wrong: tuple[str, str], says: str, tmp_path: Path
) -> None:
    given = url.replace(*wrong)
    store = Store.create(str(tmp_path), "s", _info(given), study=given)
    with pytest.raises(StoreError) as refused:
        store.create_study()
    line = str(refused.value)
    assert says in line
    assert "see that the server runs" in line
    assert "\n" not in line
    assert PASSWORD not in line
    assert "other@" not in line


@pytest.mark.parametrize(
    "given",
    ["sqlite:///x.db", "postgresql://u:s3cret@host/", "host/db", "postgresql://", "postgresql://u:s3cret@host:port/db"],
)
def test_what_is_no_database_is_refused_without_its_secrets(given: str) -> None:
    with pytest.raises(ConfigError, match="is not a PostgreSQL database") as refused:
        place_of(given)
    assert "s3cret" not in str(refused.value)
