"""What ingest shows of file names: words and counters that are known to be harmless, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from gansweep.cohort.ingest.run import IngestSettings, IngestSummary, ingest
from gansweep.cohort.sources.hiding import names_nobody, shown_name
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path


def ingested(root: Path, **settings: Any) -> IngestSummary:
    return ingest(root / "source", root / "out", IngestSettings(size=16, **settings))


def text_of(out: Path) -> str:
    """Everything that a cohort says in words."""
    tables = [pd.read_parquet(path).to_csv() for path in sorted(out.glob("*.parquet"))]
    return "\n".join([*tables, *(path.read_text() for path in [*out.glob("*.json"), *out.glob("*.csv")])])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("scan.Meier", "an unknown suffix"),
        ("Thorax Fr. Weiss", "an unknown suffix"),
        ("MRT vom 3.4. Meier", "an unknown suffix"),
        ("scan.mha", ".mha"),
        ("scan.GIF", ".gif"),
        ("Meier", "no suffix"),
    ],
)
def test_a_reason_shows_known_suffixes_only(tmp_path: Path, name: str, kind: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    (tmp_path / "source" / "control" / name).write_bytes(b"x")
    made = ingested(tmp_path)
    assert made.info.left_out == {f"files of this kind are not read ({kind})": 1}
    assert "eier" not in text_of(made.path)
    assert "eiss" not in text_of(made.path)


@pytest.mark.parametrize(
    "name",
    [
        "\u738b\u4f1f.png",
        "\u0905\u0928\u093f\u0932.png",  # Devanagari, where vowels are combining marks
        "\u0930\u093e\u092e.png",
        "\u0e2a\u0e21\u0e0a\u0e31\u0e22.png",
        "\uae40\uad6c.png",
        "\u674e.png",
        "\u0661\u0669\u0666\u0661.png",  # a year in Arabic digits
        "\u24c2\u24ba\u24be\u24ba\u24c7.png",  # a name in circled letters
        "\udced\udce9\udcea.png",  # bytes of another encoding
        "Wu.png",
        "Li_B.png",
        "scan Wu 3.png",
        "4711023.png",
        "030461.png",
        "610403.png",
        "123199.png",
        "3 4 1961.png",
    ],
)
def test_what_may_name_a_person_is_hidden(name: str) -> None:
    assert not names_nobody(name)
    assert shown_name(f"control/{name}", None, ["control"]) == "control/[file]"


@pytest.mark.parametrize(
    "name",
    [
        "000123.png",
        "IM000001",
        "IM0001.dcm",
        "ISIC_0024306.jpg",
        "991399.png",
        "s12.png",
        "Tr_0012.jpg",
        "sub-1_T1w.nii",
    ],
)
def test_counters_are_shown(name: str) -> None:
    assert names_nobody(name)


def test_the_words_of_a_label_are_shown_in_any_script() -> None:
    label = "\u0905\u0928\u093f\u0932"
    assert shown_name(f"{label}/{label}_1.png", None, [label]) == f"{label}/{label}_1.png"
    assert shown_name(f"{label}/\u0930\u093e\u092e_1.png", None, [label]) == f"{label}/[file]"


def write_pictures_of_patients(root: Path, copied: tuple[int, int], **columns: Any) -> None:
    """Twelve pictures that are named after their patients, of which two are equal, and a broken one."""
    rows = []
    for number in range(12):
        write_picture(root / f"p{4711 + number}.png", copied[0] if number == copied[1] else number)
        rows.append((f"p{4711 + number}.png", CLASSES[number // 2 % 2], f"P{4711 + number}"))
    (root / "p4713b.png").write_text("no picture")
    table = pd.DataFrame([*rows, ("p4713b.png", "fahr", "P4713")], columns=["path", "label", "patient_id"])
    table.assign(**columns).to_csv(root / "labels.csv", index=False)


def test_known_identifiers_are_hidden_in_lists_and_errors(tmp_path: Path) -> None:
    write_pictures_of_patients(tmp_path / "source", (4, 5))
    with pytest.raises(CohortError, match=r"\[file 5 of 14\]\.png: not a readable image") as refused:
        ingested(tmp_path)
    assert "47" not in str(refused.value)
    made = ingested(tmp_path, skip_bad=True)
    pairs = pd.read_csv(made.path / "duplicates.csv")
    assert pairs[["first", "second"]].to_numpy().tolist() == [["[file 7 of 14].png", "[file 8 of 14].png"]]
    assert "p471" not in text_of(made.path).casefold()


def test_known_identifiers_are_hidden_if_splits_leak(tmp_path: Path) -> None:
    splits = [("train", "val", "test")[number // 4] for number in range(12)]
    write_pictures_of_patients(tmp_path / "source", (2, 7), split=[*splits, "train"])
    with pytest.raises(CohortError, match=r"the first in train and val: \[file 10 of 14\]\.png") as refused:
        ingested(tmp_path, skip_bad=True)
    assert "p47" not in str(refused.value)
    pairs = pd.read_csv(tmp_path / "out-duplicates.csv")
    assert pairs[["first", "second"]].to_numpy().tolist() == [["[file 4 of 14].png", "[file 10 of 14].png"]]


def test_patient_id_is_hidden_in_the_list_of_copies(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number // 4] / f"x{4711 + number}.dcm"
        write_slice(path, 2 if number == 3 else number, 1, PatientID=f"X{4711 + number}")
    pairs = pd.read_csv(ingested(tmp_path).path / "duplicates.csv")
    assert pairs[["first", "second"]].to_numpy().tolist() == [
        ["control/[file 3 of 4].dcm", "control/[file 4 of 4].dcm"]
    ]


def test_a_hashed_name_keeps_no_unknown_suffix(tmp_path: Path) -> None:
    for number in range(8):
        write_slice(tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm", number, 1)
    write_slice(tmp_path / "source" / "fahr" / "P77.MEIER", 77, 1, ImageType=["LOCALIZER"], PatientName="")
    write_slice(tmp_path / "source" / "fahr" / "P78.dcm", 78, 1, ImageType=["LOCALIZER"], PatientName="")
    paths = pd.read_parquet(ingested(tmp_path).path / "rejected.parquet")["path"]
    assert paths.str.replace(r"[0-9a-f]{16}", "#", regex=True).tolist() == ["fahr/#", "fahr/#.dcm"]


def test_links_and_folders_have_a_place_too(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    (tmp_path / "source" / "fahr" / "Erika.png").symlink_to("Hans.png")
    (tmp_path / "source" / "fahr" / "Otto").symlink_to(tmp_path)
    rejected = pd.read_parquet(ingested(tmp_path).path / "rejected.parquet")
    assert rejected.to_numpy().tolist() == [
        ["fahr/[folder 1 of 1]", "a link to a folder, which is not followed"],
        ["fahr/[file 5 of 5].png", "a link that leads to no file"],
    ]
