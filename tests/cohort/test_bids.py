"""BIDS folders as scanners, preprocessing pipelines and people leave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.sources.columns import Columns
from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUBJECTS = [f"sub-{number:02d}" for number in range(6)]


def write(path: Path, values: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Three controls and three patients, a brain of `[12, 12, 8]` voxels each, without masks."""
    root = tmp_path / "bids"
    for number, subject in enumerate(SUBJECTS):
        volume = np.random.default_rng(number).normal(100, 10, (12, 12, 8)).astype(np.float32)
        write(root / subject / "anat" / f"{subject}_T1w.nii.gz", volume)
    rows = [f"{subject}\t{'patient' if number % 2 else 'control'}" for number, subject in enumerate(SUBJECTS)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tgroup", *rows]) + "\n")
    return root


def masks_of(root: Path) -> list[str]:
    return [source.mask.name if source.mask else "" for source in find_sources(root)[0]]


def test_brain_masks_are_no_lesions(bids: Path, tmp_path: Path) -> None:
    lesion = np.zeros((12, 12, 8), np.float32)
    lesion[4:8, 4:8, 3:5] = 1
    for number, subject in enumerate(SUBJECTS):
        fmriprep = bids / "derivatives" / "fmriprep" / subject / "anat"
        write(fmriprep / f"{subject}_desc-brain_mask.nii.gz", np.ones((12, 12, 8), np.float32))
        write(fmriprep / f"{subject}_space-MNI_desc-brain_mask.nii.gz", np.ones((5, 5, 5), np.float32))
        if number % 2:
            path = bids / "derivatives" / "lesions" / subject / "anat" / f"{subject}_label-lesion_mask.nii.gz"
            write(path, lesion)
    manifest = Cohort.open(ingest(bids, tmp_path / "out", IngestSettings(size=16)).path).manifest
    assert (manifest["has_mask"] == (manifest["label"] == "patient")).all()
    assert manifest.groupby("label").size().to_dict() == {"control": 12, "patient": 6}, "two slices show each lesion"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["mask"], "mask"),
        (["label-L_mask"], "label-L_mask"),
        (["label-GM_mask", "label-brain_mask", "bet_mask"], ""),
        (["desc-aparcaseg_mask", "label-tumor_mask"], "label-tumor_mask"),
        (["a_mask", "desc-T1lesion_mask"], "desc-T1lesion_mask"),
        (["label-lesion_roi", "label-hippocampus_roi"], "label-lesion_roi"),
        (["acq-3d_space-MNI_label-lesion_mask", "label-lesion_mask"], "label-lesion_mask"),
    ],
)
def test_the_name_says_which_mask_shows_lesions(bids: Path, names: list[str], chosen: str) -> None:
    for name in names:
        write(bids / "derivatives" / "any" / "sub-00" / "anat" / f"sub-00_{name}.nii.gz", np.zeros((2, 2, 2)))
    assert masks_of(bids)[0] == (f"sub-00_{chosen}.nii.gz" if chosen else "")


def edit(root: Path, old: str, new: str, encoding: str = "utf-8") -> None:
    table = root / "participants.tsv"
    table.write_bytes(table.read_text().replace(old, new).encode(encoding))


def test_a_participant_without_a_group_is_left_out(bids: Path) -> None:
    edit(bids, "sub-03\tpatient", "sub-03")
    sources, rejected = find_sources(bids)
    assert len(sources) == 5
    assert [item.reason for item in rejected] == ["its subject has no label in participants.tsv"]


def test_columns_of_participants_in_any_case(bids: Path) -> None:
    edit(bids, "participant_id\tgroup", "Participant_ID\tGroup ")
    assert len(find_sources(bids)[0]) == len(find_sources(bids, columns=Columns(label="GROUP"))[0]) == 6


@pytest.mark.parametrize(
    ("old", "new", "encoding", "said"),
    [
        ("participant_id", "subject", "utf-8", "participants.tsv: no column 'participant_id' .columns: subject, group"),
        ("patient", "atteint\u00e9", "latin-1", 'is in neither UTF-8 nor UTF-16; save it as "CSV UTF-8"'),
    ],
)
def test_participants_that_cannot_be_used(bids: Path, old: str, new: str, encoding: str, said: str) -> None:
    edit(bids, old, new, encoding)
    with pytest.raises(CohortError, match=said):
        find_sources(bids)


@pytest.mark.parametrize("option", ["patient", "split", "paired"])
def test_a_column_asked_for_in_vain(bids: Path, option: str) -> None:
    with pytest.raises(CohortError, match="no CSV to take column 'fold' from; name it with --labels"):
        find_sources(bids, columns=Columns(**{option: "fold"}))


def reasons(root: Path) -> dict[str, list[str]]:
    """What is left out, by name."""
    found: dict[str, list[str]] = {}
    for item in find_sources(root)[1]:
        assert not item.bad
        found.setdefault(item.reason, []).append(item.name)
    return found


def add_subject(root: Path, subject: str) -> None:
    with (root / "participants.tsv").open("a") as table:
        table.write(f"{subject}\tpatient\n")


def test_what_is_not_used_is_told(bids: Path, tmp_path: Path) -> None:
    volume = np.random.default_rng(9).normal(100, 10, (12, 12, 8)).astype(np.float32)
    for subject in ("sub-77", "sub-78", "sub-79"):
        add_subject(bids, subject)
    write(bids / "sub-78" / "dwi" / "sub-78_dwi.nii.gz", volume)
    write(bids / "sub-79" / "anat" / "sub-79_T2star.nii.gz", volume)
    write(bids / "sub-00" / "anat" / "sub-00_run-2_T1w.nii.gz", volume + 1)
    write(bids / "sub-01" / "anat" / "sub-01_T2w.nii.gz", volume + 2)
    (bids / "sub-01" / "anat" / "scan.mgz").write_bytes(b"x")
    (bids / "raw.zip").write_bytes(b"PK")
    write(bids / "derivatives" / "any" / "sub-00" / "anat" / "sub-00_space-MNI_T1w.nii.gz", volume)
    write(bids / "derivatives" / "any" / "sub-00" / "anat" / "sub-00_desc-brain_mask.nii.gz", volume)
    assert reasons(bids) == {
        "another image of its subject and session is taken": [
            "sub-00/anat/sub-00_run-2_T1w.nii.gz",
            "sub-01/anat/sub-01_T2w.nii.gz",
        ],
        "not in the folder anat of a subject": ["sub-78/dwi/sub-78_dwi.nii.gz"],
        "its suffix is none of T1w, T2w, FLAIR, ct, PDw, T2starw": ["sub-79/anat/sub-79_T2star.nii.gz"],
        "an archive, which is not opened": ["raw.zip"],
        "files of this kind are not read (.mgz)": ["sub-01/anat/scan.mgz"],
        "a subject without an image that is read": ["sub-77", "sub-78", "sub-79"],
    }
    made = ingest(bids, tmp_path / "out", IngestSettings(size=16, slices=1))
    assert made.info.left_out["a subject without an image that is read"] == 3
    assert sum(made.info.left_out.values()) == made.rejected == 9
    assert sum(made.info.images.values()) == 6


def test_hidden_files_are_skipped(bids: Path) -> None:
    for subject in SUBJECTS:
        (bids / subject / "anat" / f"._{subject}_T1w.nii.gz").write_bytes(b"\0\5\x16\7junk")
        (bids / subject / "anat" / f"._{subject}_label-lesion_mask.nii.gz").write_bytes(b"\0\5\x16\7junk")
    sources, rejected = find_sources(bids)
    assert [source.path.name for source in sources] == [f"{subject}_T1w.nii.gz" for subject in SUBJECTS]
    assert masks_of(bids) == [""] * 6
    assert rejected == []


def test_links_out_of_the_dataset_are_not_followed(bids: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for subject in ("sub-55", "sub-56"):
        write(outside / f"{subject}_T1w.nii.gz", np.ones((12, 12, 8), np.float32))
        add_subject(bids, subject)
    write(outside / "mask.nii.gz", np.ones((12, 12, 8), np.float32))
    (bids / "sub-55" / "anat").mkdir(parents=True)
    (bids / "sub-55" / "anat" / "sub-55_T1w.nii.gz").symlink_to(outside / "sub-55_T1w.nii.gz")
    (bids / "sub-56").mkdir()
    (bids / "sub-56" / "anat").symlink_to(outside)
    lesions = bids / "derivatives" / "lesions" / "sub-00" / "anat"
    lesions.mkdir(parents=True)
    (lesions / "sub-00_label-lesion_mask.nii.gz").symlink_to(outside / "mask.nii.gz")
    # Within the dataset, as DataLad links each file.
    (bids / ".git").mkdir()
    image = bids / "sub-00" / "anat" / "sub-00_T1w.nii.gz"
    image.rename(bids / ".git" / "content.nii.gz")
    image.symlink_to("../../.git/content.nii.gz")
    assert masks_of(bids) == [""] * 6
    assert reasons(bids) == {
        "a link out of the folder, which is not followed": [
            "derivatives/lesions/sub-00/anat/sub-00_label-lesion_mask.nii.gz",
            "sub-55/anat/sub-55_T1w.nii.gz",
        ],
        "a link to a folder, which is not followed": ["sub-56/anat"],
        "a subject without an image that is read": ["sub-55", "sub-56"],
    }


def test_subjects_of_two_labels_are_refused(bids: Path) -> None:
    table = bids / "participants.tsv"
    table.write_text(table.read_text() + "sub-03\tpatient\nsub-01\tn/a\n")
    assert len(find_sources(bids)[0]) == 6
    table.write_text(table.read_text() + "sub-03\tcontrol\n")
    with pytest.raises(CohortError, match=r"participants.tsv: lines 5 and 10 give one subject two labels; keep one"):
        find_sources(bids)


def test_subjects_without_their_prefix(bids: Path) -> None:
    table = bids / "participants.tsv"
    table.write_text(table.read_text().replace("sub-", ""))
    sources, rejected = find_sources(bids)
    assert [source.label for source in sources] == ["control", "patient"] * 3
    assert rejected == []


def test_the_column_of_the_labels_is_told(bids: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        find_sources(bids)
        find_sources(bids, columns=Columns(label="group"))
    [record] = caplog.records
    assert record.getMessage() == "participants.tsv: column 'group' gives the labels; --label-column chooses another"
    assert record.levelname == "INFO"
    table = bids / "participants.tsv"
    caplog.clear()
    table.write_text("participant_id\tgroup\tdx\n" + "".join(f"{name}\tA\tB\n" for name in SUBJECTS))
    find_sources(bids)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
