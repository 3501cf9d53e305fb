from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

from gansweep.cohort import verification
from gansweep.cohort.dataset import Cohort, CohortInfo, write_record
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.config import DataView
from gansweep.errors import CohortError
from gansweep.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_splits_are_by_patient_and_stratified(cohort_path: Path) -> None:
    manifest = Cohort.open(cohort_path).manifest
    assert manifest.groupby("patient")["split"].nunique().max() == 1
    assert manifest.groupby("split")["patient"].nunique().to_dict() == {"test": 2, "train": 8, "val": 2}
    assert (manifest.groupby("split")["label"].nunique() == 2).all()


def test_load_gives_what_the_other_rooms_expect(cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    train = cohort.load("train")
    assert train.images.shape == (16, 1, 32, 32)
    assert train.images.dtype == torch.float32
    assert train.images.min() >= -1
    assert train.images.max() <= 1
    assert set(train.labels.tolist()) == {0, 1}
    assert cohort.info.classes == ("control", "fahr")
    assert cohort.info.positive_class == "fahr"
    assert train.masks is not None
    lesion = train.masks.sum((1, 2, 3)) > 0
    assert lesion.equal(train.labels == 1)
    assert len(set(train.patients)) == 8
    stored = cohort.images[cohort.manifest["split"] == "train"][3] / cohort.info.scale * 2 - 1
    np.testing.assert_allclose(train.images[3], stored, atol=1e-6)


def test_view_crops_and_resizes(cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    view = DataView(size=24, crop=0.75)
    images = cohort.load("val", view).images
    assert images.shape == (4, 1, 24, 24)
    assert torch.equal(images, cohort.load("val").images[..., 4:28, 4:28])
    assert cohort.spec(view).size == 24


def test_test_patients_need_their_own_call(cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    with pytest.raises(ValueError, match="confirm"):
        cohort.load("test")  # type: ignore[arg-type]
    held = set(cohort.load_test().patients)
    assert held.isdisjoint(cohort.load("train").patients + cohort.load("val").patients)


def test_the_content_hash_depends_on_data_and_not_on_the_salt(phantom: Path, cohort_path: Path, tmp_path: Path) -> None:
    first = Cohort.open(cohort_path)
    again = ingest(phantom, tmp_path / "again", IngestSettings(size=32))
    assert again.info.content_hash == first.content_hash
    assert again.info.salt_fingerprint != first.info.salt_fingerprint
    assert set(Cohort.open(again.path).manifest["patient"]).isdisjoint(first.manifest["patient"])
    other = ingest(phantom, tmp_path / "other", IngestSettings(size=32, seed=1))
    assert other.info.content_hash != first.content_hash


def test_a_given_salt_gives_the_same_patients(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSWEEP_SALT", "a secret of this hospital")
    made = [ingest(phantom, tmp_path / name, IngestSettings(size=16)).path for name in "ab"]
    first, second = (Cohort.open(path) for path in made)
    assert first.manifest["patient"].tolist() == second.manifest["patient"].tolist()
    assert "secret" not in (first.path / "cohort.json").read_text()


def test_no_identity_leaves_the_reader(cohort_path: Path) -> None:
    for file in cohort_path.iterdir():
        assert b"PHANTOM" not in file.read_bytes(), file.name


def test_open_refuses_changed_files_and_leaks(cohort_path: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(cohort_path, tmp_path / "changed")
    images = np.load(changed / "images.npy")
    images[0, 0, 0, 0] += 1
    np.save(changed / "images.npy", images)
    with pytest.raises(CohortError, match="has changed"):
        Cohort.open(changed)

    def split_anew(name: str, splits: Callable[[pd.DataFrame], pd.Series[str]]) -> Path:
        """A copy with other splits, its file hashes put right."""
        folder = shutil.copytree(cohort_path, tmp_path / name)
        manifest = pd.read_parquet(folder / "manifest.parquet")
        manifest.assign(split=splits(manifest)).to_parquet(folder / "manifest.parquet", index=False)
        old, new = (sha256_of(path / "manifest.parquet") for path in (cohort_path, folder))
        record = (folder / "cohort.json").read_text().replace(old, new)
        write_record(CohortInfo.model_validate_json(record), folder)
        return folder

    other = {"train": "test", "val": "train", "test": "train"}
    with pytest.raises(CohortError, match="in two splits"):
        Cohort.open(split_anew("leaking", lambda m: m["split"].where(m.index > 0, m["split"].map(other))))
    # No patient leaks, but under the old hash a sweep's training patients would now be test patients.
    with pytest.raises(CohortError, match="have changed since the ingest"):
        Cohort.open(split_anew("exchanged", lambda m: m["split"].map(other)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", 131070),
        ("classes", ["fahr", "control"]),
        ("positive_class", "control"),
        ("modality", "MR"),
        ("window", "bone"),
        ("patients_known", False),
        ("patients", {"train": 99, "val": 99, "test": 99}),
    ],
)
def test_a_record_that_was_changed_is_refused(cohort_path: Path, tmp_path: Path, key: str, value: Any) -> None:
    folder = shutil.copytree(cohort_path, tmp_path / "cohort")
    record = json.loads((folder / "cohort.json").read_text())
    assert record[key] != value
    (folder / "cohort.json").write_text(json.dumps(record | {key: value}))
    with pytest.raises(CohortError, match=r"cohort\.json has changed since it was ingested"):
        Cohort.open(folder)


def test_a_record_of_an_earlier_version_has_no_hash(cohort_path: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(cohort_path, tmp_path / "cohort")
    record = json.loads((folder / "cohort.json").read_text())
    del record["record_hash"]
    (folder / "cohort.json").write_text(json.dumps(record))
    assert Cohort.open(folder).content_hash == Cohort.open(cohort_path).content_hash
    (folder / "cohort.json").write_text(json.dumps(record | {"scale": -1}))
    with pytest.raises(CohortError, match="not a cohort"):
        Cohort.open(folder)


def test_files_are_hashed_once_per_machine(cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(cohort_path, tmp_path / "cohort")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verification, "SMALL", 0)
    hashed: list[str] = []
    monkeypatch.setattr(verification, "sha256_of", lambda path: (hashed.append(path.name), sha256_of(path))[1])

    Cohort.open(folder)
    Cohort.open(folder)  # written a moment ago, so the file could change again within the clock's resolution
    assert hashed.count("images.npy") == 2
    monkeypatch.setattr(verification, "RECENT", 0.0)
    Cohort.open(folder)
    Cohort.open(folder)
    assert hashed.count("images.npy") == 3
    Cohort.open(folder, verify=True)
    assert hashed.count("images.npy") == 4

    stored = (folder / "images.npy").read_bytes()
    times = (folder / "images.npy").stat()
    (folder / "images.npy").write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    os.utime(folder / "images.npy", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CohortError, match=r"images.npy has changed"):
        Cohort.open(folder)


def test_a_cache_that_cannot_be_written_is_none(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verification, "SMALL", 0)
    assert Cohort.open(cohort_path).info.size == 32


def test_a_notebook_shows_counts_and_no_patients(cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    page = cohort._repr_html_()
    root = ElementTree.fromstring(page)  # well-formed, so it cannot break the page around it
    rows = [[cell.text for cell in row] for row in root.iter("tr")]
    splits = [f"{split}: images (patients)" for split in ("train", "val", "test")]
    assert rows == [
        ["class", *splits],
        ["control", "8 (4)", "2 (1)", "2 (1)"],
        ["fahr", "8 (4)", "2 (1)", "2 (1)"],
        ["all classes", "16 (8)", "4 (2)", "4 (2)"],
    ]
    assert root.findtext("caption") == (
        f"Cohort: size 1 x 32 x 32, modality CT, window lesion, content hash {cohort.content_hash[:12]}"
    )
    assert cohort.content_hash[:13] not in page
    assert not any(name in page for name in [*cohort.manifest["patient"], "PHANTOM", str(cohort_path)])


def test_a_notebook_escapes_class_names(cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    info = cohort.info.model_copy(update={"classes": ("<b>control</b>", "fahr"), "window": "<script>"})
    manifest = cohort.manifest.assign(label=cohort.manifest["label"].replace("control", "<b>control</b>"))
    page = Cohort(cohort.path, info, manifest)._repr_html_()
    assert "&lt;b&gt;control&lt;/b&gt;</th><td>8 (4)</td>" in page
    assert "<b>" not in page
    assert "<script>" not in page


@pytest.mark.parametrize("present", [False, True])
def test_open_says_when_a_folder_is_no_cohort(tmp_path: Path, present: bool) -> None:
    folder = tmp_path / "nothing"
    if present:
        folder.mkdir()
    with pytest.raises(CohortError, match="not a cohort" if present else "no such folder"):
        Cohort.open(folder)
