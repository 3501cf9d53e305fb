"""Names as people write them: missing words, spellings, look-alikes, maps, hidden folders, masks beside images."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.sources.find import find_sources
from gansweep.cohort.sources.hiding import names_nobody, shown_name
from gansweep.cohort.sources.words import given, known_patient, look_alikes, patient_spelling
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path


def write_labels(root: Path, labels: list[str], **columns: list[Any]) -> None:
    """One picture per label, and their labels.csv."""
    for number in range(len(labels)):
        write_picture(root / f"s{number}.png", number)
    names = [f"s{number}.png" for number in range(len(labels))]
    pd.DataFrame({"path": names, "label": labels, **columns}).to_csv(root / "labels.csv", index=False)


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "n/a", "N/A", "None", "null", "#N/A", "", " ", "NA", "#N/A N/A", "-nan", "(null)", "n/a."]
)
def test_missing_words(tmp_path: Path, word: str) -> None:
    assert given(word) == ""
    write_labels(tmp_path, [*CLASSES * 4, word])
    with pytest.raises(CohortError, match=r"s8.png: labels.csv line 10 has no label"):
        cohort_of(tmp_path, tmp_path / "out")
    cohort = cohort_of(tmp_path, tmp_path / "out", skip_bad=True)
    assert cohort.info.classes == CLASSES
    assert len(cohort.manifest) == 8


def test_a_missing_word_may_be_mapped_to_a_label(tmp_path: Path) -> None:
    write_labels(tmp_path, ["none", "fahr"] * 4)
    assert cohort_of(tmp_path, tmp_path / "out", map={"none": "control"}).info.classes == CLASSES


@pytest.mark.parametrize("word", ["nan", "", "ANONYMOUS", "n/a"])
def test_a_missing_patient_is_nobody(tmp_path: Path, word: str) -> None:
    assert known_patient(word) == ""
    write_labels(tmp_path, [*CLASSES * 4], patient_id=[word] * 8)
    cohort = cohort_of(tmp_path, tmp_path / "out")
    assert cohort.manifest["patient"].nunique() == 8
    assert not cohort.info.patients_known


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("7", "007"),
        ("7", "7.0"),
        ("P007", "p007"),
        ("P7", "P007"),
        ("P-01", "p_01"),
        ("P-01", "P01"),
        ("TCGA-CS-4941", "TCGA_CS_4941"),
        ("1-02", "1_2"),
        ("P-1-2", "P\N{EN DASH}1\N{NON-BREAKING HYPHEN}2"),
        ("P12", "\N{FULLWIDTH LATIN CAPITAL LETTER P}12"),
        ("Müller-1", unicodedata.normalize("NFD", "Müller-1")),
    ],
)
def test_spellings_of_one_patient(tmp_path: Path, first: str, second: str) -> None:
    assert patient_spelling(first) == patient_spelling(second)
    patients = [first, second] + [f"Q{number // 2}" for number in range(14)]
    write_labels(tmp_path, [CLASSES[number // 2 % 2] for number in range(16)], patient_id=patients)
    cohort = cohort_of(tmp_path, tmp_path / "out")
    assert cohort.manifest["patient"].nunique() == 8
    assert cohort.manifest["patient"][0] == cohort.manifest["patient"][1]
    told = [warning for warning in cohort.info.warnings if "leading zeros" in warning]
    assert bool(told) == (unicodedata.normalize("NFC", second) != first)
    assert not any(first in warning for warning in told if len(first) > 1)


def test_a_patient_spelled_in_two_ways_leaks_between_given_splits(tmp_path: Path) -> None:
    splits = ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    patients = [f"{number}" for number in range(15)] + ["003"]
    write_labels(tmp_path, [CLASSES[number % 2] for number in range(16)], split=splits, patient_id=patients)
    with pytest.raises(CohortError, match="is in test and train"):
        cohort_of(tmp_path, tmp_path / "out")


def test_other_patients_stay_apart() -> None:
    names = ["1", "10", "100", "P1", "Q1", "1.5", "0", "sub-01", "1-2", "12", "A1-2", "A12", "AB-1", "A-1"]
    assert len({patient_spelling(name) for name in names}) == len(names)


def test_look_alikes() -> None:
    long = "adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib"
    assert look_alikes({"adenocarcinoma", long, "normal"}) == [("adenocarcinoma", long)]
    assert look_alikes({"Control", "control", "controls", "fahr"}) == [
        ("Control", "control"),
        ("Control", "controls"),
        ("control", "controls"),
    ]
    assert look_alikes({"control", "\N{CYRILLIC SMALL LETTER ES}ontrol", "fahr"}) == [("control", "\u0441ontrol")]
    assert look_alikes({"fahr", "\N{FULLWIDTH LATIN SMALL LETTER F}ahr"}) == [("fahr", "\uff46ahr")]
    assert look_alikes({"no tumour", "no_tumour"}) == [("no tumour", "no_tumour")]
    assert look_alikes({"tumour", "no_tumour", "glioma", "meningioma", "a", "ab", "grade1", "grade2"}) == []


def test_look_alikes_are_told_and_a_map_joins_them(tmp_path: Path) -> None:
    write_labels(tmp_path, ["Control", "Fahr", "control", "fahr"] * 3)
    told = "class names look alike: 'Control' and 'control', 'Fahr' and 'fahr'; join them with --map 'Control=control'"
    assert told in cohort_of(tmp_path, tmp_path / "out").info.warnings
    (tmp_path / "map.csv").write_text("old,new\nFahr,fahr\n")
    joined = cohort_of(tmp_path, tmp_path / "out", map=["Control=control", str(tmp_path / "map.csv")])
    assert joined.info.classes == CLASSES
    assert joined.manifest["label"].value_counts().to_dict() == {"control": 6, "fahr": 6}
    assert not any("look alike" in warning for warning in joined.info.warnings)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["Gone=here"], "no image is labelled 'Gone'; labels: control, fahr"),
        (["Fahr"], "'Fahr' is neither OLD=NEW nor a file"),
        (["fahr="], "'fahr' has no new label"),
        (["fahr=nan"], "'fahr' is mapped to 'nan', which stands for a missing value; choose another label"),
        ({"fahr": "N/A"}, "'fahr' is mapped to 'N/A', which stands for a missing value"),
        (["fahr=a", "fahr=b"], "'fahr' is mapped to both 'a' and 'b'"),
    ],
)
def test_maps_that_do_nothing_or_contradict(tmp_path: Path, items: Any, said: str) -> None:
    write_labels(tmp_path, [*CLASSES * 4])
    with pytest.raises(CohortError, match=said):
        cohort_of(tmp_path, tmp_path / "out", map=items)


def test_a_folder_may_be_called_none(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / ("none", "fahr", "None", "fahr")[number % 4] / f"{number}.png", number)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", map={"None": "none"})
    assert cohort.manifest["label"].value_counts().to_dict() == {"none": 4, "fahr": 4}


def test_labels_in_two_unicode_forms_are_one(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "hémorragie") for form in ("NFC", "NFD")]
    for number, form in enumerate(forms * 3):
        write_picture(tmp_path / "source" / form / f"{number}.png", number)
    for number in range(6):
        write_picture(tmp_path / "source" / "normal" / f"{number}.png", 10 + number)
    assert cohort_of(tmp_path / "source", tmp_path / "out").info.classes == ("normal", forms[0])


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/s-checkpoint.png",
        "__MACOSX/control/._0.png",
        "@eaDir/0.png",
        "control/.hidden.png",
        ".DS_Store",
    ],
)
def test_hidden_files_and_folders_are_skipped(tmp_path: Path, name: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    expected = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16)).info
    write_picture(tmp_path / "other.png", 99)
    (tmp_path / "source" / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / "other.png").rename(tmp_path / "source" / name)
    found = ingest(tmp_path / "source", tmp_path / "again", IngestSettings(size=16)).info
    assert found.content_hash == expected.content_hash
    assert found.left_out == {}


MASKS = {
    "beside": ("{c}/{c} ({n}).png", "{c}/{c} ({n})_mask.png"),
    "seg": ("{c}/im{n}.png", "{c}/im{n}_seg.png"),
    "segmentation": ("{c}/im{n}.png", "{c}/im{n}-segmentation.png"),
    "twin": ("images/{c}/{n}.png", "masks/{c}/{n}.png"),
    "twin below the class": ("{c}/images/{n}.png", "{c}/masks/{n}.png"),
    "twin with suffix": ("{c}/images/{n}.jpg", "{c}/masks/{n}_mask.png"),
    "label": ("{c}/{n}.png", "{c}/{n}_label.png"),
    "labels": ("{c}/{n}.png", "{c}/{n}_labels.png"),
    "capital": ("{c}/{n}.png", "{c}/{n}_L.png"),
    "first": ("{c}/{n}.png", "{c}/mask_{n}.png"),
    "German": ("{c}/{n}.png", "{c}/{n}_Maske.png"),
    "contour": ("{c}/{n}.png", "{c}/{n}_contour.png"),
    "decathlon": ("imagesTr/{c}/{n}.png", "labelsTr/{c}/{n}.png"),
    "folder beside": ("{c}/{n}.png", "{c}/masks/{n}.png"),
}


@pytest.mark.parametrize("layout", MASKS)
def test_masks_beside_images(tmp_path: Path, layout: str) -> None:
    drawn = {}
    for number in range(8):
        names = [text.format(c=CLASSES[number % 2], n=number) for text in MASKS[layout]]
        write_picture(tmp_path / "source" / names[0], number)
        mask = np.zeros((20, 20), np.uint8)
        mask[number : number + 6, 3:12] = 255
        (tmp_path / "source" / names[1]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "source" / names[1])
        drawn[CLASSES[number % 2], number] = mask > 0
    cohort = cohort_of(tmp_path / "source", tmp_path / "out").path
    sources, rejected = find_sources(tmp_path / "source")
    assert not rejected
    masks = np.load(cohort / "masks.npy")
    manifest = pd.read_parquet(cohort / "manifest.parquet")
    assert manifest["label"].tolist() == [source.label for source in sources] == ["control"] * 4 + ["fahr"] * 4
    assert len(masks) == 8
    full = ingest(tmp_path / "source", tmp_path / "full", IngestSettings(size=20)).path
    for row, (key, expected) in enumerate(sorted(drawn.items())):
        np.testing.assert_array_equal(np.load(full / "masks.npy")[row, 0], expected, err_msg=str(key))


def test_several_masks_of_one_image_are_joined(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "source" / CLASSES[number % 2]
        write_picture(folder / f"{number}.png", number)
        for part, name in enumerate(("mask", "mask_1")):
            mask = np.zeros((20, 20), np.uint8)
            mask[2 + 10 * part : 6 + 10 * part, 5:9] = 255
            Image.fromarray(mask).save(folder / f"{number}_{name}.png")
    masks = np.load(ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=20)).path / "masks.npy")
    assert masks.sum((1, 2, 3)).tolist() == [32] * 8


def test_a_class_may_be_called_mask(tmp_path: Path) -> None:
    for number in range(8):
        name = ("with_mask", "mask")[number % 2]
        write_picture(tmp_path / "source" / name / f"{name}_{number}.png", number)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.info.classes == ("mask", "with_mask")
    assert len(cohort.manifest) == 8


def test_masks_beside_listed_images(tmp_path: Path) -> None:
    write_labels(tmp_path, [*CLASSES * 4])
    for number in range(8):
        Image.fromarray(np.full((20, 20), 255, np.uint8)).save(tmp_path / f"s{number}_mask.png")
    cohort = cohort_of(tmp_path, tmp_path / "out")
    assert cohort.manifest["has_mask"].all()
    assert cohort.info.left_out == {}
    table = pd.read_csv(tmp_path / "labels.csv")
    table.loc[8] = ["s0_mask.png", "control"]
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CohortError, match=r"s0_mask\.png: is the mask of another image; name it in a column 'mask'"):
        cohort_of(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    [
        "SCHMIDT^ANNA_19610304.png",
        "schmidt.png",
        "LI_NA.png",
        "1961-03-04.png",
        "4711000815.dcm",
        "Müller8.png",
        "DoeJohn",
    ],
)
def test_a_name_that_may_be_a_persons_is_hidden(tmp_path: Path, name: str) -> None:
    assert not names_nobody(name)
    for other in ("a.png", "z.png", name):
        (tmp_path / "control" / other).parent.mkdir(exist_ok=True)
        (tmp_path / "control" / other).write_text("")
    shown = shown_name(f"control/{name}", tmp_path / "control" / name, ["control"])
    place = 1 + sorted(("a.png", "z.png", name)).index(name)
    assert shown.startswith(f"control/[file {place} of 3]")


@pytest.mark.parametrize(
    "name",
    ["s12.png", "IM0001", "benign (3).png", "sub-01_T1w.nii.gz", "Tr_0012.jpg", "slice-003.dcm", "ISIC_0024306.jpg"],
)
def test_other_names_are_shown(name: str) -> None:
    assert shown_name(f"images/{name}", None, ["benign"]) == f"images/{name}"


@pytest.mark.parametrize("skip", [False, True])
def test_a_broken_file_names_nobody(tmp_path: Path, skip: bool) -> None:
    write_labels(tmp_path / "source", [*CLASSES * 4])
    table = pd.read_csv(tmp_path / "source" / "labels.csv")
    for number, name in enumerate(("control/SCHMIDT^ANNA_19610304.png", "WEBER_KARL/scan.png", "GONE^PERSON.png")):
        (tmp_path / "source" / name).parent.mkdir(exist_ok=True)
        if not name.startswith("GONE"):
            (tmp_path / "source" / name).write_text("no picture")
        table.loc[8 + number] = [name, "control"]
    table.to_csv(tmp_path / "source" / "labels.csv", index=False)
    if skip:
        out = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, skip_bad=True)).path
        rejected = pd.read_parquet(out / "rejected.parquet")
        assert sorted(rejected["path"]) == ["[file]", "[folder 1 of 2]/scan.png", "control/[file 1 of 1].png"]
        text = b"".join(file.read_bytes() for file in out.iterdir())
    else:
        with pytest.raises(CohortError, match=r"labels\.csv line 12 names a file that does not exist") as caught:
            ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
        text = str(caught.value).encode()
    assert not any(word in text for word in (b"SCHMIDT", b"ANNA", b"1961", b"WEBER", b"KARL", b"GONE", b"PERSON"))


@pytest.mark.parametrize(
    "names", [("TRAIN_SET", "VALID_SET", "TEST_SET"), ("train-data", "ValidationSet", "test images")]
)
def test_folders_of_splits_in_other_words(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for split, name in enumerate(names):
        for number, label in enumerate(CLASSES * 4):
            write_picture(tmp_path / "source" / name / label / f"{number}.png", 10 * split + number)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.info.classes == CLASSES
    assert cohort.info.split == "given"
    assert cohort.info.images == {"train": 8, "val": 8, "test": 8}


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("1_train", "2_val", "3_test"),
        ("tr", "va", "te"),
        ("train1", "test1"),
        ("trainA", "testA"),
        ("chest_train", "chest_test"),
        ("Mass-Test", "Mass-Training"),
        ("Trainingsset", "Validierung", "Test"),
    ],
)
def test_folders_of_splits_in_unknown_words_are_refused(tmp_path: Path, names: tuple[str, ...], below: bool) -> None:
    """Otherwise they would be the classes, or the patients of a class."""
    for number, (name, label) in enumerate((a, b) for a in names for b in "abcd" * 3):
        folder = tmp_path / "source" / label / name if below else tmp_path / "source" / name / label
        write_picture(folder / f"{number}.png", number)
    with pytest.raises(CohortError, match=rf"named like splits \({', '.join(sorted(names))}\), but in other words"):
        find_sources(tmp_path / "source")


@pytest.mark.parametrize(
    "names", [("tr", "tb"), ("typeA", "typeB"), ("1", "2"), ("stress_test", "rest"), ("test1", "no")]
)
def test_folders_of_other_words_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names * 4):
        write_picture(tmp_path / "source" / name / f"{number}.png", number)
    assert {source.label for source in find_sources(tmp_path / "source")[0]} == set(names)


def test_folders_of_which_some_are_splits_are_refused(tmp_path: Path) -> None:
    """As classes they would be train against test."""
    for number, (name, label) in enumerate((a, b) for a in ("train", "test", "extra") for b in CLASSES * 4):
        write_picture(tmp_path / "source" / name / label / f"{number}.png", number)
    with pytest.raises(CohortError, match=r"named like splits \(test, train\), but extra is not"):
        cohort_of(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("rest", ["", 'x9.png,"control,p9\n'])
def test_a_quote_that_is_not_closed_shows_nobody(tmp_path: Path, rest: str) -> None:
    """It swallows the rows behind it, and their patients must not be shown as one cell."""
    for number in range(8):
        write_picture(tmp_path / "source" / f"s{number}.png", number)
    rows = [f"s{number}.png,{CLASSES[number % 2]},Anna{number}" for number in range(8)]
    rows[2] = '"' + rows[2]
    (tmp_path / "source" / "labels.csv").write_text("path,label,patient_id\n" + "\n".join(rows) + "\n" + rest)
    for skip_bad in (False, True):
        with pytest.raises(CohortError, match=r"line 4 is not readable|runs over several lines") as refused:
            cohort_of(tmp_path / "source", tmp_path / "out", skip_bad=skip_bad)
        assert "Anna" not in str(refused.value)
        assert "quotes" in str(refused.value)


def test_a_note_of_several_lines_is_read(tmp_path: Path) -> None:
    write_labels(tmp_path, [*CLASSES * 4], note=["two\nlines"] * 8)
    assert len(cohort_of(tmp_path, tmp_path / "out").manifest) == 8


def test_a_file_with_two_labels_is_counted_once(tmp_path: Path) -> None:
    write_labels(tmp_path, [*CLASSES * 4])
    with (tmp_path / "labels.csv").open("a") as table:
        table.write("s0.png,fahr\n")
    summary = ingest(tmp_path, tmp_path / "out", IngestSettings(size=16))
    assert summary.rejected == 1
    assert list(summary.info.left_out.values()) == [1]
