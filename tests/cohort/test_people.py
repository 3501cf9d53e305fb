"""Folders of patients that hold pictures are refused as classes, and folders of classes are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.sources.people import look_like_people
from gansweep.errors import CohortError
from tests.cohort.scans import cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = {
    "names": ["SCHMIDT_ANNA", "MEIER_HANS", "WEBER_OTTO"],
    "carets": ["Doe^John", "Wu^Li", "Ng^Hai"],
    "dates": ["Schmidt Anna 19610304", "Meier Hans 19550101"],
    "dates alone": ["1961-03-04", "4.3.1955", "04031970"],
    "records": ["4711023", "4711024", "ID 4811025"],
    "accents": ["MÜLLER_JÜRGEN", "GÜNTER_ANDRÉ", "BJÖRN_JOSÉ"],
    "short": ["DOE_JANE", "ROE_JACK", "POE_MIA"],
    "most": ["anna schmidt", "hans meier", "erika mustermann", "xq1", "xq2"],
}
CLASSES = {
    "isic": [
        *("actinic keratosis", "basal cell carcinoma", "dermatofibroma", "melanoma", "nevus", "vascular lesion"),
        *("pigmented benign keratosis", "seborrheic keratosis", "squamous cell carcinoma"),
    ],
    "chest": ["COVID-19", "Lung_Opacity", "Normal", "Viral Pneumonia"],
    "brain": ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"],
    "alzheimer": ["MildDemented", "ModerateDemented", "NonDemented", "VeryMildDemented"],
    "colon": ["colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc"],
    "kvasir": ["dyed-lifted-polyps", "esophagitis", "normal-cecum", "ulcerative-colitis"],
    "chest ct": [
        "adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib",
        "large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa",
        "normal",
    ],
    "exports of one day": ["moyamoya_20210303", "atherosclerosis_20210303", "healthy_20210303"],
    "exports": ["normal_20210303", "covid_20210412"],
    "synsets": ["n01440764", "n02102040", "n03028079"],
    "codes": ["SNOMED_254837009", "SNOMED_109886000", "SNOMED_363346000"],
    "two codes": ["254837009", "109886000"],
    "coded diseases": ["1234567_glaucoma", "2345678_cataract", "3456789_drusen"],
    "sites": ["hospital_maria", "hospital_anna", "Santa Maria", "San Jose"],
    "two sites": ["Site_Leon", "Site_Victoria"],
    "readers": ["reader_anna", "reader_peter", "reader_hans"],
    "eponyms": ["Michel_deformity", "Simon_foci"],
    "two dates": ["2019-01-01_scanner", "2020-01-01_scanner"],
    "grades": ["0", "1", "2", "3", "4"],
    "diseases": ["Fahr", "Parkinson", "Addison"],
    "one name": ["anna", "hans", "otto"],
    "two words": ["Crohn disease", "Basedow disease", "Marie Foix"],
}


@pytest.mark.parametrize("names", PEOPLE.values(), ids=PEOPLE)
@pytest.mark.parametrize("split", ["", "train/"])
def test_folders_of_people_are_no_classes(tmp_path: Path, names: list[str], split: str) -> None:
    for person, name in enumerate(names):
        for number in range(5):
            write_picture(tmp_path / "source" / split / name / f"{number}.png", 10 * person + number)
    with pytest.raises(CohortError, match=r"look like patients, not classes; add labels\.csv") as refused:
        cohort_of(tmp_path / "source", tmp_path / "out")
    assert not any(name in str(refused.value) for name in names)


@pytest.mark.parametrize("names", CLASSES.values(), ids=CLASSES)
def test_classes_are_no_people(names: list[str]) -> None:
    assert not look_like_people(names)


def test_a_person_beside_folders_of_splits_is_not_shown(tmp_path: Path) -> None:
    for person, name in enumerate(("train", "test", "Mustermann")):
        for number in range(3):
            write_picture(tmp_path / "source" / name / "control" / f"{number}.png", 10 * person + number)
    with pytest.raises(CohortError, match=r"named like splits \(test, train\), but another is not"):
        cohort_of(tmp_path / "source", tmp_path / "out")
