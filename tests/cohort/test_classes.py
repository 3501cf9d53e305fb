"""Which class is the disease: what names say, and a warning where they say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from gansweep.cohort.ingest.settings import is_guess, ordered_classes, positive_of
from tests.cohort.scans import cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        ({"CT_COVID", "CT_NonCOVID"}, "CT_COVID"),
        ({"Parasitized", "Uninfected"}, "Parasitized"),
        ({"cancer", "noncancer"}, "cancer"),
        ({"ASD", "TD"}, "ASD"),
        ({"fahr", "control"}, "fahr"),
        ({"no_tumour", "tumour"}, "tumour"),
        ({"yes", "no"}, "yes"),
        ({"0", "1"}, "1"),
        ({"no_lesion", "lesion"}, "lesion"),
        ({"fahr"}, "fahr"),
    ],
)
def test_names_that_say_it(names: set[str], positive: str) -> None:
    classes = ordered_classes(names)
    assert positive_of(classes, None) == positive
    assert not is_guess(classes, None)


@pytest.mark.parametrize("names", [{"1", "2"}, {"unilateral", "bilateral"}, {"no", "glioma", "meningioma"}])
def test_names_that_do_not(names: set[str]) -> None:
    classes = ordered_classes(names)
    assert is_guess(classes, None)
    assert not is_guess(classes, classes[0])


def test_a_guess_is_told(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / "12"[number % 2] / f"{number}.png", number)
    guessed = cohort_of(tmp_path / "source", tmp_path / "guessed").info
    assert guessed.positive_class == "2"
    assert "sensitivity counts '2', the last by name: choose with --positive" in guessed.warnings
    chosen = cohort_of(tmp_path / "source", tmp_path / "chosen", positive="1").info
    assert chosen.positive_class == "1"
    assert not any("sensitivity" in warning for warning in chosen.warnings)


def test_a_class_without_any_image_left_is_told(tmp_path: Path) -> None:
    for number in range(12):
        name = ("a", "b", "severe melanoma")[number % 3]
        write_picture(tmp_path / "source" / name / f"{number}.png", number)
        if number % 3 == 2:
            Image.new("L", (20, 20), 7).save(tmp_path / "source" / name / f"{number}.png")
    (tmp_path / "source" / "d").mkdir()
    (tmp_path / "source" / "d" / "1.gif").write_bytes(b"GIF89a")
    lost = "no image of class 'severe melanoma' is left: 4 x blank: all pixels are equal"
    unread = "no image is read in d: 1 x files of this kind are not read (.gif)"
    assert {lost, unread} <= set(cohort_of(tmp_path / "source", tmp_path / "out").info.warnings)
    wanted = cohort_of(tmp_path / "source", tmp_path / "wanted", classes=("a", "b")).info.warnings
    assert lost not in wanted


def test_a_class_whose_files_are_missing_is_told(tmp_path: Path) -> None:
    rows = ["path,label", "normal,Anna Meier"]
    for number in range(12):
        rows.append(f"{number}.png,{'abc'[number % 3]}")
        if number % 3 < 2:
            write_picture(tmp_path / f"{number}.png", number)
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    warnings = cohort_of(tmp_path, tmp_path / "out", skip_bad=True).info.warnings
    assert "no image of class 'c' is left: 4 x a row names a file that does not exist (path)" in warnings
    assert "no image of a class is left: 1 x a row names a file that does not exist (path)" in warnings
    assert "Meier" not in str(warnings)


def test_a_lost_class_that_is_a_patients_folder_names_nobody(tmp_path: Path) -> None:
    for number in range(12):
        write_picture(tmp_path / "source" / "ab"[number % 2] / f"{number}.png", number)
        path = tmp_path / "source" / "Weiss_Maria" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (20, 20), 7).save(path)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert "no image of class [folder 1 of 3] is left: 12 x blank: all pixels are equal" in cohort.info.warnings
    assert not any(b"Weiss" in path.read_bytes() for path in cohort.path.iterdir())
