"""Every mistake is answered by one line that says what, where and how to put it right, and nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.errors import CohortError

SMALL = IngestSettings(size=16)


@pytest.fixture
def source(phantom: Path, tmp_path: Path) -> Path:
    return shutil.copytree(phantom, tmp_path / "source")


def refused(source: Path, out: Path, settings: IngestSettings = SMALL) -> str:
    """The message; checks that it is one line and that nothing is left behind."""

    def beside() -> list[Path]:
        return sorted(path for path in out.parent.glob("*") if out.name in path.name)

    before = beside()
    with pytest.raises(CohortError) as caught:
        ingest(source, out, settings)
    message = str(caught.value)
    assert "\n" not in message
    assert "PHANTOM-" not in message.replace("images/PHANTOM-", "")
    assert beside() == before
    return message


def edited(source: Path, **columns: object) -> pd.DataFrame:
    """labels.csv with the first row's cells replaced."""
    table = pd.read_csv(source / "labels.csv", dtype="str", keep_default_na=False)
    for name, value in columns.items():
        table.loc[0, name] = value
    table.to_csv(source / "labels.csv", index=False)
    return table


def first_image(source: Path) -> Path:
    return source / str(pd.read_csv(source / "labels.csv")["path"][0])


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere", tmp_path / "out")


def test_no_images(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing here")
    assert "no images" in refused(folder, tmp_path / "out")


def test_a_labels_file_without_rows(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "labels.csv").write_text("path,label\n")
    assert "lists no images" in refused(folder, tmp_path / "out")


def test_a_truncated_dicom(source: Path, tmp_path: Path) -> None:
    path = first_image(source)
    path.write_bytes(path.read_bytes()[:-3000])
    message = refused(source, tmp_path / "out")
    assert "images/[file 1 of 24].dcm: " in message  # its name is that of the patient
    assert "cannot be decoded" in message
    assert "--skip-bad" in message


def test_a_dicom_cut_off_in_its_header(source: Path, tmp_path: Path) -> None:
    path = first_image(source)
    path.write_bytes(path.read_bytes()[:300])
    assert "images/[file 1 of 24].dcm: not a DICOM file" in refused(source, tmp_path / "out")


def test_a_text_file_named_dcm(source: Path, tmp_path: Path) -> None:
    first_image(source).write_text("This is not an image, whatever its name says. " * 20)
    message = refused(source, tmp_path / "out")
    assert "not a DICOM file" in message or "not a readable DICOM file" in message


def test_mixed_modalities(source: Path, tmp_path: Path) -> None:
    path = first_image(source)
    dataset = pydicom.dcmread(path)
    dataset.Modality = "MR"
    dataset.save_as(path)
    message = refused(source, tmp_path / "out")
    assert "CT (23 images) and MR (1 image)" in message
    assert "--modality CT" in message


def test_an_empty_label(source: Path, tmp_path: Path) -> None:
    edited(source, label="")
    assert "line 2 has no label" in refused(source, tmp_path / "out")


def test_an_image_without_a_row(source: Path, tmp_path: Path) -> None:
    table = edited(source)
    table.iloc[1:].to_csv(source / "labels.csv", index=False)
    made = ingest(source, tmp_path / "out", SMALL)
    assert made.info.left_out == {"has no row in the labels CSV": 2}  # and its mask
    assert sum(made.info.images.values()) == 23
    assert pd.read_parquet(made.path / "rejected.parquet")["reason"].tolist() == ["has no row in the labels CSV"] * 2


def test_no_label_column(source: Path, tmp_path: Path) -> None:
    edited(source).drop(columns="label").to_csv(source / "labels.csv", index=False)
    assert "no column 'label'" in refused(source, tmp_path / "out")


def test_a_file_that_is_not_there(source: Path, tmp_path: Path) -> None:
    edited(source, path="images/gone.dcm")
    message = refused(source, tmp_path / "out")
    assert "images/gone.dcm" in message
    assert "does not exist" in message


def test_a_patient_with_two_labels(source: Path, tmp_path: Path) -> None:
    table = edited(source)
    edited(source, label="fahr" if table["label"][0] == "control" else "control")
    message = refused(source, tmp_path / "out")
    assert "has two labels: control and fahr" in message
    assert "--label-per image" in message


def test_too_few_patients(source: Path, tmp_path: Path) -> None:
    table = edited(source)
    kept = table["patient_id"].isin(table.groupby("label")["patient_id"].unique().str[:2].explode())
    table[kept].to_csv(source / "labels.csv", index=False)
    for path in table["path"][~kept]:
        (source / path).unlink()
    message = refused(source, tmp_path / "out")
    assert "too few patients: class 'control' has 2" in message


@pytest.mark.parametrize("place", ["file/below", "/proc/gansweep"])
def test_a_place_that_cannot_be_written(phantom: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot write here" in refused(phantom, tmp_path / place)
    with pytest.raises(CohortError, match="cannot write here"):
        write_phantom(tmp_path / place, patients=2, slices=1, size=32)


def test_a_folder_in_use_is_left_alone(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "not empty" in refused(phantom, out)
    assert (out / "thesis.tex").exists()


def test_an_earlier_cohort_is_replaced(phantom: Path, tmp_path: Path) -> None:
    first = ingest(phantom, tmp_path / "out", SMALL)
    second = ingest(phantom, tmp_path / "out", IngestSettings(size=24))
    assert (first.info.size, second.info.size) == (16, 24)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_patient_in_two_given_splits(source: Path, tmp_path: Path) -> None:
    table = edited(source)
    table["split"] = (["train", "val", "test"] * len(table))[: len(table)]
    table.to_csv(source / "labels.csv", index=False)
    message = refused(source, tmp_path / "out")
    assert "--resplit" in message
    assert len(message.split("patient ")[1].split()[0]) == 16
    assert ingest(source, tmp_path / "out", SMALL.model_copy(update={"resplit": True})).info.images["train"] == 16


def test_a_split_column_with_gaps(source: Path, tmp_path: Path) -> None:
    edited(source, split="train")
    assert "the split is empty for 23 of 24 images" in refused(source, tmp_path / "out")


def test_a_mask_of_another_size(source: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(source / "masks" / "wrong.png")
    edited(source, mask="masks/wrong.png")
    assert "its mask is 8x8 pixels, the image 64x64" in refused(source, tmp_path / "out")


@pytest.mark.parametrize(("window", "said"), [("brian", "unknown window"), ("80,0", "is empty"), ("full", "is for")])
def test_a_window_that_makes_no_sense(phantom: Path, tmp_path: Path, window: str, said: str) -> None:
    assert said in refused(phantom, tmp_path / "out", IngestSettings(size=16, window=window))


def test_a_short_salt_protects_nobody(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSWEEP_SALT", "pepper")
    assert "GANSWEEP_SALT" in refused(phantom, tmp_path / "out")


def test_skip_bad_lists_what_was_left_out(source: Path, tmp_path: Path) -> None:
    table = edited(source, path="images/gone.dcm")
    (source / table["path"][1]).write_text("not an image")
    summary = ingest(source, tmp_path / "out", IngestSettings(size=16, skip_bad=True))
    rejected = pd.read_parquet(summary.path / "rejected.parquet").set_index("path")["reason"]
    rejected.index = rejected.index.str.replace(r"[0-9a-f]{16}", "#", regex=True)
    assert summary.rejected == len(rejected) == 3
    assert "does not exist" in rejected["images/gone.dcm"]
    assert sorted(rejected["images/#.dcm"].str.contains("DICOM")) == [False, True]
    assert sum(summary.info.images.values()) == 22
    assert not Path(summary.path / "labels.csv").exists()


def test_nothing_usable_even_with_skip_bad(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "sick"
    folder.mkdir(parents=True)
    (folder / "a.dcm").write_text("not an image")
    message = refused(folder.parent, tmp_path / "out", IngestSettings(size=16, skip_bad=True))
    assert "no usable images" in message
