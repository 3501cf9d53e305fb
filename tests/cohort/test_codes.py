"""Codes of patients in the file names of public datasets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gansweep.cohort.sources.codes import patient_in, person_in
from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort

MAMMOGRAM = {"Modality": "MG", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2", "RescaleIntercept": 0}


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm", "6c613a14b80a8591"),
        ("fahr/20586934_6c613a14b80a8591_MG_L_ML_ANON.png", "6c613a14b80a8591"),
        ("Calc-Test_P_00038_LEFT_CC/1.3.6/000000.dcm", "P_00038"),
        ("TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif", "TCGA_CS_4941"),
        ("TCGA-02-0006-01Z-00-DX1_x100.png", "TCGA-02-0006"),
        ("Mild Dementia/OAS1_0028_MR1_mpr-1_100.jpg", "OAS1_0028"),
        ("OAS30001_MR_d0129/anat.nii.gz", "OAS30001"),
        ("AD/ADNI_002_S_0295_MR_MPR_S13407_I45107.nii", "002_S_0295"),
        ("LIDC-IDRI-0001/1-001.dcm", "LIDC-IDRI-0001"),
        ("IXI002-Guys-0828-T1.nii.gz", "IXI002"),
        ("BraTS-GLI-00005-001/BraTS-GLI-00005-001-t1c.nii.gz", "BraTS-GLI-00005"),
        ("benign/SOB_B_TA-14-4659-40-001.png", "14-4659"),
        ("benign/SOB_M_DC-14-22549AB-100-012.png", "14-22549AB"),
        ("images/00000013_026.png", "00000013"),
        ("train/patient00001/study1/view1_frontal.jpg", "patient00001"),
        ("files\\p10\\p10000032\\s50414267\\a.jpg", "p10000032"),
        ("fahr/sub-01_T1w.nii.gz", "sub-01"),
        ("fahr/20240131_001.png", ""),
        ("fahr/patient00001/1.png", ""),
        ("fahr/ISIC_0024306.jpg", ""),
        ("fahr/12_S_34.png", ""),
    ],
)
def test_the_patient_in_a_name(name: str, patient: str) -> None:
    assert patient_in(name) == patient


def sizes(cohort: Cohort) -> list[int]:
    return sorted(cohort.manifest.groupby("patient").size().tolist())


def write_inbreast(root: Path, patient_id: str, *, other_side: int = 0) -> None:
    """Both breasts of eight women; the other side may be of another class."""
    for number in range(16):
        woman, side = divmod(number, 2)
        label = CLASSES[(woman + side * other_side) % 2]
        name = f"205869{number:02d}_{woman:02d}613a14b80a8591_MG_{'RL'[side]}_CC_ANON.dcm"
        identity = {"PatientID": patient_id.format(woman), "StudyInstanceUID": f"1.2.{number}"}
        write_slice(root / label / name, number, 1, SeriesInstanceUID=f"1.3.{number}", **identity, **MAMMOGRAM)


@pytest.mark.parametrize("patient_id", ["", "removed", "W{}"])
def test_both_breasts_are_one_patients_and_nobody_is_shown(tmp_path: Path, patient_id: str) -> None:
    write_inbreast(tmp_path / "source", patient_id)
    (tmp_path / "source" / "fahr" / "20586999_ff613a14b80a8591_MG_R_CC_ANON.dcm").write_bytes(b"broken")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", skip_bad=True)
    assert sizes(cohort) == [2] * 8
    assert cohort.info.patients_known
    told = (
        "the patients of 16 images are taken from their names, as INbreast has them; patient_id in a CSV has priority"
    )
    assert (told in cohort.info.warnings) == (patient_id != "W{}")
    files = [path.read_bytes() for path in cohort.path.iterdir()]
    assert not any(b"613a14b80a8591" in data or b"205869" in data for data in files)
    [rejected] = pd.read_parquet(cohort.path / "rejected.parquet")["path"]
    assert re.fullmatch(r"fahr/[0-9a-f]{16}\.dcm", rejected)  # the hash of the patient


def test_a_woman_of_two_classes_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_inbreast(tmp_path / "source", "removed", other_side=1)
    with pytest.raises(CohortError, match="has two labels: control and fahr") as error:
        cohort_of(tmp_path / "source", tmp_path / "out")
    assert "613a14b80a8591" not in str(error.value)
    assert "taken from their names, as INbreast has them; patient_id in a CSV has priority" in caplog.text
    assert sizes(cohort_of(tmp_path / "source", tmp_path / "out", label_per="image")) == [2] * 8


def test_a_view_in_patient_id_is_no_patient(tmp_path: Path) -> None:
    assert person_in("Mass-Training_P_00001_LEFT_CC_1") == "P_00001"
    assert person_in("TCGA-02-0006") == "TCGA-02-0006"
    for number in range(16):
        identity = f"Mass-Training_P_{number // 2:05d}_LEFT_{('CC', 'MLO')[number % 2]}"
        path = tmp_path / "source" / CLASSES[number // 2 % 2] / f"{number}.dcm"
        write_slice(path, number, 1, PatientID=identity, StudyInstanceUID=f"1.{number}", **MAMMOGRAM)
    assert sizes(cohort_of(tmp_path / "source", tmp_path / "out")) == [2] * 8


def test_codes_in_a_csv(tmp_path: Path) -> None:
    rows = []
    for number in range(16):
        name = f"SOB_B_TA-14-{1000 + number // 2}-40-{number:03d}"
        write_picture(tmp_path / "images" / f"{name}.png", number)
        rows.append({"path": name, "label": CLASSES[number // 2 % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    assert sizes(cohort_of(tmp_path, tmp_path / "out")) == [2] * 8
    rows = [{**row, "patient_id": number} for number, row in enumerate(rows)]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    cohort = cohort_of(tmp_path, tmp_path / "out")
    assert sizes(cohort) == [1] * 16
    assert not any("their names" in line for line in cohort.info.warnings)


def test_slices_that_masks_label_keep_their_patient(tmp_path: Path) -> None:
    """The layout of the gliomas of TCGA."""
    for number in range(32):
        name = f"TCGA_CS_49{number // 4:02d}_19960909_{number % 4}"
        folder = tmp_path / "source" / name[:21]
        write_picture(folder / f"{name}.tif", number)
        drawn = np.zeros((20, 20), np.uint8)
        drawn[4:9, 4:9] = 255 * (number % 2)
        Image.fromarray(drawn).save(folder / f"{name}_mask.tif")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", label_from="mask", label_per="image")
    assert cohort.manifest["label"].value_counts().to_dict() == {"lesion": 16, "no_lesion": 16}
    assert sizes(cohort) == [4] * 8


def test_a_patient_of_the_header_is_not_told_to_be_in_the_name(tmp_path: Path) -> None:
    for number in range(8):
        code = f"LIDC-IDRI-{number:04d}"
        write_slice(tmp_path / "source" / CLASSES[number % 2] / f"{code}.dcm", number, 1, PatientID=code)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert sizes(cohort) == [1] * 8
    assert not any("their names" in line for line in cohort.info.warnings)


def test_a_folder_for_each_visit_is_no_class(tmp_path: Path) -> None:
    for case in range(4):
        for visit in range(2):
            name = f"BraTS-GLI-{case:05d}-{visit:03d}"
            for sequence in ("t1c", "t2w"):
                write_picture(tmp_path / name / f"{name}-{sequence}.png", 10 * case + visit)
    with pytest.raises(CohortError, match="the folders look like patients, not classes"):
        find_sources(tmp_path)


def test_codes_of_files_that_a_csv_names_without_suffix(tmp_path: Path) -> None:
    """The layout of ChestX-ray14, whose code is recognised by the suffix after it."""
    rows = ["path,label"]
    for number in range(16):
        write_picture(tmp_path / "images" / f"{number // 2:08d}_{number % 2:03d}.png", number)
        rows.append(f"{number // 2:08d}_{number % 2:03d},{CLASSES[number // 2 % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    cohort = cohort_of(tmp_path, tmp_path / "out")
    assert sizes(cohort) == [2] * 8
    assert "the patients of 16 images are taken from their names, as ChestX-ray14 has them" in str(cohort.info.warnings)
