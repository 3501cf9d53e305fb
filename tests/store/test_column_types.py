"""A file whose column has another type costs itself, and changes the type of no other file's column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gansweep.store.columns import reconciled
from gansweep.store.store import Store
from tests.store.damages import warnings_of

if TYPE_CHECKING:
    from pathlib import Path


def changed(path: Path, column: str, values: pa.Array) -> None:
    """Replaces a column of a Parquet file."""
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)


def usable(store: Store) -> list[str]:
    """The trials that are ranked, after two readers that compact."""
    for _ in range(2):
        Store.open(store.uri).compact()
    again = Store.open(store.uri)
    assert pd.api.types.is_float_dtype(again.trials()["fid"])
    assert pd.api.types.is_float_dtype(again.reports()["fid"])
    assert len(again.ranked_trials()) == len(again.trials())
    found: list[str] = again.trials()["trial_id"].tolist()
    return found


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("without_schema", [False, True])
def test_text_in_a_score_costs_one_trial(rows: Any, caplog: Any, number: int, without_schema: bool) -> None:
    path = rows.local / "trials" / f"trial-000{number}.0.parquet"
    changed(path, "fid", pa.array(["x"]))
    if without_schema:
        (rows.local / "trials" / "schema.parquet").unlink()
    assert usable(rows) == [f"000{other}" for other in range(5) if other != number]
    assert any(line.startswith(f"{path} is damaged and left out (") for line in warnings_of(caplog))


@pytest.mark.parametrize("names", [["trials/schema.parquet"], ["trials/schema.parquet", "trials.parquet"]])
def test_text_for_an_objective_in_what_is_derived_is_not_believed(rows: Any, names: list[str]) -> None:
    rows.compact()
    for name in names:
        path = rows.local / name
        table = pq.read_table(path, partitioning=None)
        place = table.column_names.index("fid")
        pq.write_table(table.set_column(place, "fid", table["fid"].cast(pa.string())), path)
    again = Store.open(rows.uri)  # a reader, which does not compact
    assert pd.api.types.is_float_dtype(again.trials()["fid"])
    assert all("fid" in row.scores for row in again.rows())


def test_a_store_of_one_row_with_text_for_an_objective_has_no_row(rows: Any) -> None:
    for path in (rows.local / "trials").glob("*.parquet"):
        if path.name != "trial-0001.0.parquet":
            path.unlink()
    changed(rows.local / "trials" / "trial-0001.0.parquet", "fid", pa.array(["x"]))
    assert len(Store.open(rows.uri).ranked_trials()) == 0


def test_text_in_a_score_of_a_report_costs_these_reports(rows: Any) -> None:
    changed(rows.local / "reports" / "trial-0002.0.parquet", "fid", pa.array(["x", "y"]))
    assert len(usable(rows)) == 5
    assert sorted(set(Store.open(rows.uri).reports()["trial_id"])) == ["0000", "0001", "0003", "0004"]


@pytest.mark.parametrize(
    "values",
    [pa.nulls(1), pa.array([3.5], pa.float32()), pa.array([3], pa.int32()), pa.array(["3.5"])],
    ids=["null", "float32", "int32", "text of a number"],
)
def test_another_type_with_the_same_meaning_costs_nothing(rows: Any, values: pa.Array) -> None:
    changed(rows.local / "trials" / "trial-0002.0.parquet", "fid", values)
    assert usable(rows) == ["0000", "0001", "0002", "0003", "0004"]


def test_text_in_a_declared_number_costs_one_trial(rows: Any) -> None:
    changed(rows.local / "trials" / "trial-0002.0.parquet", "seconds", pa.array(["long"]))
    assert usable(rows) == ["0000", "0001", "0003", "0004"]
    assert pd.api.types.is_float_dtype(Store.open(rows.uri).trials()["seconds"])


@pytest.mark.parametrize("name", ["trials.parquet", "trials/schema.parquet"])
def test_what_was_derived_with_another_type_is_built_again(rows: Any, name: str) -> None:
    rows.compact()
    path = rows.local / name
    table = pq.read_table(path, partitioning=None)
    text = table["fid"].cast(pa.string())
    place = table.column_names.index("fid")
    pq.write_table(table.set_column(place, "fid", text), path)
    assert usable(rows) == ["0000", "0001", "0002", "0003", "0004"]


def test_columns_of_several_files() -> None:
    declared: Any = {
        "config.norm": "float64",
        "reason": "string",
        "seconds": "float64",
        "final": "bool",
        "attempt": "int64",
    }
    one: Any = {"config.norm": "string", "fid": "string", "reason": "int64", "seconds": "int64", "note": "string"}
    other: Any = {"config.norm": "float64", "fid": "int64", "final": "string", "attempt": "float64", "note": "string"}
    expected = {
        "config.norm": "string",
        "fid": "int64",
        "reason": "string",
        "seconds": "float64",
        "note": "string",
        "final": "bool",
        "attempt": "int64",
    }
    assert reconciled(declared, one, other) == expected
    assert reconciled(declared, other, one) == expected


@pytest.mark.parametrize("without_schema", [False, True])
def test_text_in_a_column_of_another_version_costs_nothing(rows: Any, without_schema: bool) -> None:
    for path in (rows.local / "trials").glob("trial-*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.append_column("card", pa.array(["H100"] * len(table))), path)
    if without_schema:
        (rows.local / "trials" / "schema.parquet").unlink()
    assert usable(rows) == ["0000", "0001", "0002", "0003", "0004"]
    again = Store.open(rows.uri)
    assert again.trials()["card"].tolist() == ["H100"] * 5
    assert {name for row in again.rows() for name in row.scores} == {"fid", "accuracy"}


def test_a_whole_number_with_a_point_costs_nothing(rows: Any) -> None:
    changed(rows.local / "trials" / "trial-0002.0.parquet", "attempt", pa.array([0.0]))
    assert usable(rows) == ["0000", "0001", "0002", "0003", "0004"]
    assert pd.api.types.is_integer_dtype(Store.open(rows.uri).trials()["attempt"])
