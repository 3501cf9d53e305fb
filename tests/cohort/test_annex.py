"""Datasets of DataLad: each file is a link to the content, which git-annex keeps in the repository's own folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path

LFS = "version https://git-lfs.github.com/spec/v1"
OUT = "a link out of the folder, which is not followed"


def annex(path: Path, repository: Path, seed: int) -> None:
    """A picture as git-annex keeps it."""
    content = repository / ".git" / "annex" / "objects" / "x" / f"SHA256E--{seed}.png"
    write_picture(content, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("../" * len(path.parent.relative_to(repository).parts) + str(content.relative_to(repository)))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A repository with eight pictures in its folder `images`."""
    for number in range(8):
        annex(tmp_path / "dataset" / "images" / CLASSES[number % 2] / f"{number}.png", tmp_path / "dataset", number)
    return tmp_path / "dataset"


@pytest.mark.parametrize("listed", [False, True])
def test_a_folder_of_a_dataset(dataset: Path, tmp_path: Path, listed: bool) -> None:
    source = dataset / "images"
    if listed:
        rows = [f"{path.relative_to(source)},{path.parent.name}" for path in sorted(source.rglob("*.png"))]
        (source / "labels.csv").write_text("\n".join(["path,label", *rows]))
    cohort = cohort_of(source, tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == {"control": 4, "fahr": 4}
    assert cohort.info.left_out == {}


def test_masks_of_a_dataset(dataset: Path) -> None:
    for number in range(8):
        annex(dataset / "images" / CLASSES[number % 2] / f"{number}_mask.png", dataset, 100 + number)
    sources, rejected = find_sources(dataset / "images")
    assert rejected == []
    assert [source.mask for source in sources] == [
        source.path.with_stem(f"{source.path.stem}_mask") for source in sources
    ]


def test_content_that_was_not_fetched(dataset: Path, tmp_path: Path) -> None:
    (dataset / ".git" / "annex" / "objects" / "x" / "SHA256E--3.png").unlink()
    cohort = cohort_of(dataset / "images", tmp_path / "out")
    assert cohort.info.left_out == {"a link that leads to no file; datalad get fetches its content": 1}


def test_links_out_of_the_repository_are_not_followed(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    annex(other / "images" / "99.png", other, 99)
    write_picture(dataset / ".git" / "98.png", 98)
    write_picture(dataset / "97.png", 97)
    inner = dataset / "images" / "fahr"
    (inner / "99.png").symlink_to(other / ".git" / "annex" / "objects" / "x" / "SHA256E--99.png")
    (inner / "98.png").symlink_to(dataset / ".git" / "98.png")
    (inner / "97.png").symlink_to(dataset / "97.png")
    cohort = cohort_of(dataset / "images", tmp_path / "out")
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out == {OUT: 3}


@pytest.mark.parametrize("part", [(".git",), (".git", "annex"), (".git", "annex", "objects")])
def test_an_annex_that_lies_elsewhere_is_none(dataset: Path, tmp_path: Path, part: tuple[str, ...]) -> None:
    moved = dataset.joinpath(*part)
    moved.rename(tmp_path / "moved")
    moved.symlink_to(tmp_path / "moved")
    with pytest.raises(CohortError, match=rf"no images \(8 x {OUT}\)"):
        find_sources(dataset / "images")


def test_a_repository_within_another_has_its_own_annex(dataset: Path) -> None:
    (dataset / "images" / ".git").mkdir()
    with pytest.raises(CohortError, match=rf"no images \(8 x {OUT}\)"):
        find_sources(dataset / "images")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{LFS}\noid sha256:12\nsize 3\n", "a pointer of Git LFS; git lfs pull fetches its content"),
        ("/annex/objects/SHA256E-s3--12.png\n", "a pointer of git-annex; datalad get fetches its content"),
        ("\n<!DOCTYPE html><html>", "a web page, perhaps of a failed download"),
    ],
)
@pytest.mark.parametrize("name", ["3.png", "3.dcm", "3.nii.gz", "0_mask.png", "labels.csv"])
def test_what_stands_for_a_file_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    path = tmp_path / "source" / name if name == "labels.csv" else tmp_path / "source" / CLASSES[0] / name
    path.write_text(text)
    with pytest.raises(CohortError, match=told):
        cohort_of(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("inside", [True, False])
def test_a_submodule_keeps_its_content_in_the_repository_around_it(tmp_path: Path, inside: bool) -> None:
    repository = tmp_path / "super" / "dataset"
    for number in range(8):
        annex(repository / CLASSES[number % 2] / f"{number}.png", repository, number)
    git = tmp_path / ("super/.git/modules/dataset" if inside else "other/modules/dataset")
    git.parent.mkdir(parents=True)
    (repository / ".git").rename(git)
    (repository / ".git").symlink_to(git)
    if inside:
        assert cohort_of(repository, tmp_path / "out").info.left_out == {}
    else:
        with pytest.raises(CohortError, match=OUT):
            find_sources(repository)
