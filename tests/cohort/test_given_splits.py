"""Checks hold for given splits as for drawn ones, before anything is decoded: classes, leaks, options in vain."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from PIL import Image

from gansweep.cohort.ingest import source_slices
from gansweep.cohort.ingest.checks import class_table, class_warnings, patients_by_class
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, write_picture

if TYPE_CHECKING:
    from pathlib import Path

SMALL = IngestSettings(size=16)


def given(root: Path, parts: dict[str, dict[str, int]]) -> Path:
    """Folders split/class with so many pictures."""
    seed = 0
    for split, classes in parts.items():
        for label, count in classes.items():
            for number in range(count):
                write_picture(root / split / label / f"{number}.png", seed)
                seed += 1
    return root


@pytest.fixture
def not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a picture is decoded."""

    def fail(*_: Any) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(source_slices, "read_raster", fail)


@pytest.mark.usefixtures("not_decoded")
def test_a_class_only_in_test_is_refused_with_its_look_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = {"normal": 6, "adeno_T2_N0": 6}
    source = given(tmp_path / "source", {"train": train, "valid": train, "test": {"normal": 6, "adeno": 5}})
    with caplog.at_level(logging.INFO, "gansweep"), pytest.raises(CohortError) as caught:
        ingest(source, tmp_path / "out", SMALL)
    assert "class 'adeno' has no train and no val images; it looks like 'adeno_T2_N0'" in str(caught.value)
    assert "--map 'adeno=adeno_T2_N0'" in str(caught.value)
    assert [record.getMessage() for record in caplog.records] == [
        "class        train    val   test",
        "adeno            -      -  5 (5)",
        "adeno_T2_N0  6 (6)  6 (6)      -",
        "normal       6 (6)  6 (6)  6 (6)",
    ]


def test_the_map_that_is_proposed_works(tmp_path: Path) -> None:
    train = {"normal": 6, "adeno_T2_N0": 6}
    source = given(tmp_path / "source", {"train": train, "valid": train, "test": {"normal": 6, "adeno": 6}})
    made = ingest(source, tmp_path / "out", IngestSettings(size=16, map={"adeno": "adeno_T2_N0"}))
    assert made.classes == {name: {"train": 6, "val": 6, "test": 6} for name in ("normal", "adeno_T2_N0")}
    assert "patients are not known: every image counts as a patient of its own" in made.info.warnings


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_class_missing_from_train_or_val(tmp_path: Path, missing: str) -> None:
    parts = {split: {"a": 6, "b": 6} for split in ("train", "val", "test")}
    del parts[missing]["b"]
    with pytest.raises(CohortError, match=f"class 'b' has no {missing} images; correct the split"):
        ingest(given(tmp_path / "source", parts), tmp_path / "out", SMALL)
    assert not list(tmp_path.glob("out*"))


def test_a_positive_class_without_test_patients(tmp_path: Path) -> None:
    parts = {"train": {"control": 6, "fahr": 6}, "val": {"control": 6, "fahr": 6}, "test": {"control": 6}}
    warnings = ingest(given(tmp_path / "source", parts), tmp_path / "out", SMALL).info.warnings
    assert "no test patients of 'fahr': gansweep confirm cannot measure sensitivity" in warnings


def test_a_class_with_one_training_image_is_told(tmp_path: Path) -> None:
    held_out = {"control": 6, "fahr": 6}
    parts = {"train": {"control": 20, "fahr": 1}, "val": held_out, "test": held_out}
    warnings = ingest(given(tmp_path / "source", parts), tmp_path / "out", SMALL).info.warnings
    assert "few patients in train, so little can be learned: fahr: 1" in warnings


def test_another_class_without_test_patients(tmp_path: Path) -> None:
    taught = {"a": 6, "b": 6, "control": 6}
    parts = {"train": taught, "val": taught, "test": {"a": 6, "control": 6}}
    warnings = ingest(
        given(tmp_path / "source", parts), tmp_path / "out", IngestSettings(size=16, positive="a")
    ).info.warnings
    assert "no test patients of 'b': gansweep confirm cannot score these classes" in warnings
    assert not any("cannot measure sensitivity" in warning for warning in warnings)


def test_few_patients_of_a_class_are_told() -> None:
    labels = ["a"] * 8 + ["b"] * 8
    counts = patients_by_class(labels, ["train", "val", "val", "test"] * 4, [str(number) for number in range(16)])
    assert class_warnings(counts, "b") == [
        "few patients, so scores are coarse: a: 4 in val, 2 in test; b: 4 in val, 2 in test",
        "few patients in train, so little can be learned: a: 2; b: 2",
    ]
    counts = {label: {split: {"p"} for split in ("train", "val", "test")} for label in "abcdefg"}
    assert class_warnings(counts, "b")[1] == (
        "few patients in train, so little can be learned: a: 1; b: 1; c: 1; d: 1; e: 1; and 2 more classes"
    )
    assert class_table(["a"], ["train"], ["p"]) == ["class  train  val  test", "a      1 (1)    -     -"]


@pytest.mark.usefixtures("not_decoded")
def test_a_split_beside_a_given_split_is_an_error(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 3, "b": 3} for split in ("train", "val", "test")})
    with pytest.raises(CohortError, match="--split: does nothing, because the source gives a split"):
        ingest(source, tmp_path / "out", IngestSettings(size=16, split=(0.6, 0.2, 0.2)))


def test_a_split_completes_or_replaces_a_given_one(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 6, "b": 6} for split in ("train", "test")})
    completed = ingest(source, tmp_path / "out", IngestSettings(size=16, split=(0.5, 0.5, 0)))
    assert completed.info.images == {"train": 6, "val": 6, "test": 12}
    drawn = ingest(source, tmp_path / "out", IngestSettings(size=16, split=(0.5, 0.5, 0), resplit=True))
    assert drawn.info.images == {"train": 12, "val": 12, "test": 0}
    assert "no test patients: gansweep confirm needs some" in drawn.info.warnings


def test_a_split_without_a_part_keeps_it_from_being_drawn(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 8, "b": 8} for split in ("train", "val")})
    completed = ingest(source, tmp_path / "out", SMALL)
    assert completed.info.images == {"train": 12, "val": 16, "test": 4}
    kept = ingest(source, tmp_path / "out", IngestSettings(size=16, split=(0.8, 0.2, 0)))
    assert kept.info.images == {"train": 16, "val": 16, "test": 0}
    assert "no test patients: gansweep confirm needs some" in kept.info.warnings


def test_a_seed_beside_a_complete_split_is_an_error(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 6, "b": 6} for split in ("train", "val", "test")})
    for seed in (0, 5):
        with pytest.raises(CohortError, match="--seed: does nothing, because the source gives a split"):
            ingest(source, tmp_path / "out", IngestSettings(size=16, seed=seed))
    assert ingest(source, tmp_path / "out", SMALL).info.seed == 0
    assert ingest(source, tmp_path / "out", IngestSettings(size=16, seed=5, resplit=True)).info.seed == 5
    shutil.rmtree(source / "test")
    completed = ingest(source, tmp_path / "out", IngestSettings(size=16, seed=5))
    assert (completed.info.seed, completed.info.images["test"]) == (5, 4)
    with pytest.raises(CohortError, match="--seed: does nothing"):
        ingest(source, tmp_path / "out", IngestSettings(size=16, seed=5, split=(0.8, 0.2, 0)))


@pytest.mark.usefixtures("not_decoded")
@pytest.mark.parametrize(
    ("there", "said"), [(("val", "test"), "only val and test, and no train images"), (("test",), "only test, and no")]
)
def test_a_split_without_train_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, there: tuple[str, ...], said: str
) -> None:
    source = given(tmp_path / "source", {split: {"a": 6, "b": 6} for split in there})
    if there == ("test",):
        # A single folder is a class by its name; a column is not.
        paths = sorted(source.rglob("*.png"))
        rows = [f"{path.relative_to(source)},{path.parent.name},test" for path in paths]
        (source / "labels.csv").write_text("\n".join(["path,label,split", *rows]))
    with caplog.at_level(logging.INFO, "gansweep"), pytest.raises(CohortError, match=said):
        ingest(source, tmp_path / "out", SMALL)
    assert caplog.records[-1].getMessage().split() == [
        "b",
        "-",
        *(["6", "(6)"] if "val" in there else ["-"]),
        "6",
        "(6)",
    ]


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_the_table_is_shown_if_a_split_leaks(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    source = given(tmp_path / "source", {split: {"a": 4, "b": 4} for split in ("train", "val", "test")})
    Image.open(source / "train" / "a" / "0.png").save(source / "test" / "a" / f"copy.{suffix}")
    with caplog.at_level(logging.INFO), pytest.raises(CohortError, match="1 image is in two splits"):
        ingest(source, tmp_path / "out", SMALL)
    table = [record.getMessage().split() for record in caplog.records if record.name.endswith("run")]
    assert table == [
        ["class", "train", "val", "test"],
        ["a", "4", "(4)", "4", "(4)", "5", "(5)"],
        ["b", "4", "(4)", "4", "(4)", "4", "(4)"],
    ]


@pytest.mark.usefixtures("not_decoded")
def test_equal_files_in_two_splits_are_found_before_decoding(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 4, "b": 4} for split in ("train", "val", "test")})
    shutil.copy(source / "train" / "a" / "0.png", source / "test" / "a" / "copy.png")
    shutil.copy(source / "train" / "b" / "1.png", source / "val" / "b" / "SCHMIDT^ANNA.png")
    with pytest.raises(CohortError, match=r"2 images are in two splits, the first in train and test: test/a/copy\.png"):
        ingest(source, tmp_path / "out", SMALL)
    pairs = pd.read_csv(tmp_path / "out-duplicates.csv", keep_default_na=False)
    assert pairs.to_dict("list") == {
        "kind": ["bytes", "bytes"],
        "first": ["train/a/0.png", "train/b/1.png"],
        "first_label": ["a", "b"],
        "first_split": ["train", "train"],
        "first_image": ["", ""],
        "second": ["test/a/copy.png", "val/b/[file 5 of 5].png"],
        "second_label": ["a", "b"],
        "second_split": ["test", "val"],
        "second_image": ["", ""],
    }
    assert [path.name for path in tmp_path.glob("*out*")] == ["out-duplicates.csv"]


def test_of_equal_files_the_strictest_stays(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 4, "b": 4} for split in ("train", "val", "test")})
    for split in ("val", "test"):
        shutil.copy(source / "train" / "a" / "0.png", source / split / "a" / "copy.png")
    made = ingest(source, tmp_path / "out", IngestSettings(size=16, drop_leaks=True))
    assert made.info.images == {"train": 7, "val": 8, "test": 9}
    assert made.info.left_out == {"the same image is in test": 2}
    with pytest.raises(CohortError, match="are in two splits"):
        ingest(source, tmp_path / "other", IngestSettings(size=16, skip_bad=True))


def test_equal_pictures_in_other_files_are_found_too(tmp_path: Path) -> None:
    source = given(tmp_path / "source", {split: {"a": 4, "b": 4} for split in ("train", "val", "test")})
    Image.open(source / "train" / "a" / "0.png").save(source / "test" / "a" / "copy.bmp")
    with pytest.raises(CohortError, match="1 image is in two splits"):
        ingest(source, tmp_path / "out", SMALL)
    pairs = pd.read_csv(tmp_path / "out-duplicates.csv")
    assert pairs[["kind", "first", "second"]].to_numpy().tolist() == [["pixels", "train/a/0.png", "test/a/copy.bmp"]]


def test_pairs_of_a_cohort_are_listed_with_their_images(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        write_picture(path, number)
        if number < 3:
            Image.open(path).resize((40, 40), Image.Resampling.BICUBIC).save(path.with_suffix(".bmp"))
        if number == 3:
            shutil.copy(path, path.with_name("copy.png"))
    out = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=20)).path
    pairs = pd.read_csv(out / "duplicates.csv", dtype="str").set_index("kind")
    manifest = pd.read_parquet(out / "manifest.parquet").set_index("image_id")
    assert pairs.index.tolist() == ["pixels", "near", "near", "near"]
    assert pairs.loc["pixels", ["first", "second"]].tolist() == ["fahr/3.png", "fahr/copy.png"]
    for _, row in pairs.iterrows():
        assert manifest["label"][row["first_image"]] == row["first_label"]
        assert manifest["split"][row["second_image"]] == row["second_split"] == row["first_split"]


def test_pairs_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    root = given(tmp_path / "source", {split: dict.fromkeys(CLASSES, 3) for split in ("train", "val", "test")})
    shutil.copy(root / "train" / "fahr" / "0.png", root / "test" / "fahr" / "9.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(CohortError, match=r"out-duplicates\.csv: cannot write here: .*; choose a writable folder"):
        ingest(root, tmp_path / "file" / "out", SMALL)
