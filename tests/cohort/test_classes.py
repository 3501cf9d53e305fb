"""Which class is the disease: what names say, and a warning where they say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
