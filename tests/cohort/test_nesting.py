"""One folder too many above the classes, and labels in folders below them, are recognised; good layouts are not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort

TUMOURS = ("glioma", "meningioma", "notumor", "pituitary")


def write_folders(source: Path, folders: list[str], each: int = 5) -> None:
    """As many pictures in each folder, all different."""
    for place, folder in enumerate(folders):
        for number in range(each):
            write_picture(source / folder / f"{place}_{number}.png", 1000 * place + number)


def refused(tmp_path: Path, folders: list[str], each: int = 5) -> str:
    source = tmp_path / "source"
    write_folders(source, folders, each)
    with pytest.raises(CohortError) as caught:
        cohort_of(source, tmp_path / "out")
    return str(caught.value)


def ingested(tmp_path: Path, folders: list[str], each: int = 5) -> Cohort:
    write_folders(tmp_path / "source", folders, each)
    return cohort_of(tmp_path / "source", tmp_path / "out")


def doubts(cohort: Cohort) -> list[str]:
    return [warning for warning in cohort.info.warnings if "folder" in warning]


@pytest.mark.parametrize(
    ("outer", "inner", "named"),
    [
        ("Data", TUMOURS, "glioma, meningioma, notumor, pituitary"),
        ("brain_tumor_dataset", ("no", "yes"), "no, yes"),
        ("chest_xray", ("NORMAL", "PNEUMONIA"), "normal, pneumonia"),
        ("archive/Data", ("COVID-19", "Lung_Opacity", "Normal"), "covid, normal, opacity"),
        ("OASIS/Data", ("Mild Dementia", "Non Demented"), "demented, dementia"),
        ("Data/train", TUMOURS, "glioma, meningioma, notumor, pituitary"),
    ],
)
def test_classes_in_one_folder_are_refused(tmp_path: Path, outer: str, inner: tuple[str, ...], named: str) -> None:
    message = refused(tmp_path, [f"{outer}/{name}" for name in inner])
    folder = outer.removesuffix("/train")
    assert f"the classes ({named}) lie in {folder}, which would be the only class" in message
    assert f"; ingest {tmp_path / 'source' / folder}, or add labels.csv" in message


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("place", ["Data", "Data/train"])
def test_pictures_beside_the_classes_change_nothing(tmp_path: Path, place: str, count: int) -> None:
    for number in range(count):
        write_picture(tmp_path / "source" / place / f"preview{number}.png", 9000 + number)
    message = refused(tmp_path, [f"Data/{split}/{name}" for split in ("train", "test") for name in TUMOURS])
    assert f"the classes ({', '.join(TUMOURS)}) lie in Data, which" in message


def test_a_preview_beside_classes_with_masks_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_picture(source / "Data" / "preview.png", 9999)
    for name in TUMOURS:
        for number in range(5):
            write_picture(source / "Data" / name / "images" / f"{name}{number}.png", number)
            write_picture(source / "Data" / name / "masks" / f"{name}{number}.png", number)
    with pytest.raises(CohortError, match="lie in Data, which would be the only class"):
        cohort_of(source, tmp_path / "out")


def test_the_folder_that_the_message_names_is_a_cohort(tmp_path: Path) -> None:
    refused(tmp_path, [f"Data/{name}" for name in TUMOURS])
    cohort = cohort_of(tmp_path / "source" / "Data", tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == dict.fromkeys(TUMOURS, 5)


def test_splits_between_are_recognised(tmp_path: Path) -> None:
    folders = [f"Data/{split}/{name}" for split in ("train", "val", "test") for name in TUMOURS]
    assert "one folder too many: the classes (glioma, meningioma, notumor, pituitary) lie in Data" in refused(
        tmp_path, folders
    )
    cohort = cohort_of(tmp_path / "source" / "Data", tmp_path / "out")
    assert cohort.manifest.groupby(["split", "label"]).size().to_dict() == {
        (split, name): 5 for split in ("train", "val", "test") for name in TUMOURS
    }


def test_folders_in_several_splits_are_no_patients(tmp_path: Path) -> None:
    """Their names are not shown, because no word says that they are classes."""
    message = refused(tmp_path, [f"Data/{split}/{name}" for split in ("train", "val") for name in ("akiec", "bcc")], 10)
    assert "one folder too many: the classes lie in Data, which" in message
    assert "bcc" not in message


@pytest.mark.parametrize(
    "inner",
    [
        ("P001", "P002", "P003", "P004"),
        ("control_1", "control_2", "control_3"),
        ("Meyer", "Schulz", "Lehmann", "Wu"),
        ("fahr_AB", "fahr_CD", "fahr_EF"),
        ("Meier normal", "Schulz normal", "Wu normal"),
    ],
)
def test_patients_of_one_class(tmp_path: Path, inner: tuple[str, ...]) -> None:
    cohort = ingested(tmp_path, [f"fahr/{name}" for name in inner])
    assert cohort.info.classes == ("fahr",)
    assert cohort.manifest["patient"].nunique() == len(inner)
    assert doubts(cohort) == []


def test_folders_that_may_be_classes_are_told(tmp_path: Path) -> None:
    cohort = ingested(tmp_path, [f"images/{name}" for name in ("akiec", "bcc", "mel", "vasc")], each=10)
    assert doubts(cohort) == [
        "all images are one class; if the 4 folders in images are the classes, ingest that folder"
    ]


def test_pictures_beside_folders_that_may_be_classes_change_nothing(tmp_path: Path) -> None:
    for number in range(15):
        write_picture(tmp_path / "source" / "images" / f"{number}.png", 9000 + number)
    cohort = ingested(tmp_path, [f"images/{name}" for name in ("akiec", "bcc", "mel", "vasc")], each=10)
    assert len(doubts(cohort)) == 1


def test_two_folders_are_told_before_the_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        message = refused(tmp_path, ["images/akiec", "images/bcc"], each=10)
    assert "too few patients" in message
    assert caplog.messages == [
        "all images are one class; if the 2 folders in images are the classes, ingest that folder"
    ]


def test_a_header_tells_a_patient_from_a_class(tmp_path: Path) -> None:
    """Folders of one patient each are no classes, whatever their names; folders of several are."""
    for place, name in enumerate(("benign", "malignant", "normal")):
        for number in range(3):
            write_slice(tmp_path / "one" / "head" / name / f"{number}.dcm", place, number)
            write_slice(tmp_path / "several" / "head" / name / f"{number}.dcm", 3 * place + number, number)
    assert cohort_of(tmp_path / "one", tmp_path / "out").info.patients == {"train": 1, "val": 1, "test": 1}
    with pytest.raises(CohortError, match=r"the classes \(benign, malignant, normal\) lie in head"):
        cohort_of(tmp_path / "several", tmp_path / "again")


def test_images_beside_masks_are_no_folder_too_many(tmp_path: Path) -> None:
    from PIL import Image

    write_folders(tmp_path / "source", ["images/benign", "images/malignant"])
    for image in sorted((tmp_path / "source" / "images").rglob("*.png")):
        mask = tmp_path / "source" / "masks" / image.relative_to(tmp_path / "source" / "images")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), 0).save(mask)
    assert cohort_of(tmp_path / "source", tmp_path / "out").info.classes == ("benign", "malignant")


def test_verdicts_in_the_folders_of_studies_are_told(tmp_path: Path) -> None:
    folders = [
        f"XR_{part}/patient{10 * place + n:05d}/study1_{('positive', 'negative')[n % 2]}"
        for place, part in enumerate(("ELBOW", "WRIST"))
        for n in range(4)
    ]
    cohort = ingested(tmp_path, folders, each=2)
    assert cohort.info.classes == ("XR_ELBOW", "XR_WRIST")
    fix = "if they are labels, add labels.csv with the columns path,label,patient_id"
    told = f"the innermost folders end in negative (8 images) and positive (8 images), which is not used; {fix}"
    assert doubts(cohort) == [told]


@pytest.mark.parametrize("folders", [("positive", "negative"), ("fahr_positive", "fahr_negative")])
def test_verdicts_that_are_the_classes_are_not(tmp_path: Path, folders: tuple[str, str]) -> None:
    assert doubts(ingested(tmp_path, list(folders))) == []


@pytest.mark.parametrize(
    ("folders", "shown"),
    [
        (("HAM_images_part_1", "HAM_images_part_2"), "HAM_images_part_1 and HAM_images_part_2"),
        (("images_001/images", "images_002/images", "images_010/images"), "images_001, images_002 and 1 more"),
        (("imagesTr", "imagesTs"), "imagesTr and imagesTs"),
        (("train/batch1", "train/batch2", "test/batch1", "test/batch2"), "batch1 and batch2"),
        (("fold1", "fold2", "fold3"), "fold1, fold2 and 1 more"),
        (("subset0", "subset1"), "subset0 and subset1"),
        (("part_a", "part_b"), "part_a and part_b"),
    ],
)
def test_parts_of_one_set_are_no_classes(tmp_path: Path, folders: tuple[str, ...], shown: str) -> None:
    for place, folder in enumerate(folders):
        for number in range(8):
            write_picture(tmp_path / folder / f"{number + 8 * place}.png", number + 8 * place)
    with pytest.raises(CohortError, match=f"the folders {shown} are parts of one set, not classes"):
        find_sources(tmp_path)


@pytest.mark.parametrize("sites", [("siteA", "siteB"), ("fold1", "fold2"), ("train/40X", "test/40X", "train/100X")])
def test_classes_in_each_of_several_folders_are_refused(tmp_path: Path, sites: tuple[str, ...]) -> None:
    """A site would be a class, and the diagnoses its patients."""
    found = refused(tmp_path, [f"{site}/{label}" for site in sites for label in ("benign", "malignant", "cyst")])
    told = "each of the 2 folders holds the classes (benign, cyst, malignant), and would be a class"
    assert f"{told}; put the images in one folder per class" in found


@pytest.mark.parametrize("inner", [("p1", "p2", "p3"), ("left", "right", "both"), ("normal", "p1", "p2")])
def test_folders_of_equal_names_in_each_class_are_patients(tmp_path: Path, inner: tuple[str, ...]) -> None:
    cohort = ingested(tmp_path, [f"{label}/{name}" for label in ("scannerA", "scannerB") for name in inner])
    assert cohort.info.classes == ("scannerA", "scannerB")


def test_one_folder_between_classes_and_patients_is_no_patient(tmp_path: Path) -> None:
    cohort = ingested(tmp_path, [f"{label}/images/{label}{number}" for label in ("a", "b") for number in range(4)])
    assert cohort.manifest["patient"].nunique() == 8
    assert cohort.info.patients_known


def test_folders_that_may_be_visits_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = refused(tmp_path, [f"{label}/{side}" for label in ("a", "b") for side in ("left", "right")])
    assert "too few patients: class 'a' has 2" in found
    told = "2 folder names occur under several classes and count as different patients; if they are the same, or are"
    assert told in caplog.text


@pytest.mark.parametrize(
    ("name", "count"), [("patient{}", 3), ("Subject {}", 3), ("case_{:02d}", 4), ("P{:03d}", 6), ("{:05d}", 12)]
)
def test_folders_of_slices_of_numbered_patients_are_no_classes(tmp_path: Path, name: str, count: int) -> None:
    found = refused(tmp_path, [name.format(number) for number in range(count)])
    assert "the folders look like patients, not classes; add labels.csv with the columns path,label" in found


@pytest.mark.parametrize(
    ("name", "count"), [("grade_{}", 5), ("s{}", 12), ("{:02d}", 4), ("T{:03d}", 3), ("class{:03d}", 7)]
)
def test_numbered_folders_that_may_be_classes(tmp_path: Path, name: str, count: int) -> None:
    warnings = ingested(tmp_path, [name.format(number) for number in range(count)]).info.warnings
    told = f"the {count} classes are numbered; if these folders are patients, add labels.csv with path,label"
    assert (told in warnings) == (count == 12)


@pytest.mark.parametrize("names", [("grade_1", "grade_2"), ("0", "1"), ("images_a", "images_b"), ("part_1", "batch_2")])
def test_numbered_classes_are_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    for number in range(8):
        write_picture(tmp_path / names[number % 2] / f"{number}.png", number)
    assert {source.label for source in find_sources(tmp_path)[0]} == set(names)
