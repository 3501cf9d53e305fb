"""`gansweep score`: which images stand for what a generator saw, and which for what it did not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 16


class Flat(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].flatten(1)


def write_folder(folder: Path, images: np.ndarray[Any, Any], classes: tuple[str, str] = ("well", "ill")) -> Path:
    """8-bit PNGs, the classes in turn."""
    for row, image in enumerate(images):
        (folder / classes[row % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / classes[row % 2] / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder, its cohort, a replay of the cohort's training images, and a stranger's folder."""
    rng, base = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    coarse = rng.integers(0, 256, (140, 4, 4), dtype=np.uint8)
    images = coarse.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
    real = write_folder(base / "real", images[:60])
    cohort = ingest(real, base / "cohort", IngestSettings(size=SIZE, split=(0.5, 0.3, 0.2)))
    train = Cohort.open(cohort.path).load("train")
    replay = ((train.images[:, 0].numpy() + 1) * 127.5).round().astype(np.uint8)
    features = base / "flat.pt"
    torch.jit.save(torch.jit.script(Flat()), features)
    return {
        "real": real,
        "cohort": cohort.path,
        "replay": write_folder(base / "replay", replay),
        "other": write_folder(base / "other", images[60:100]),
        "third": write_folder(base / "third", images[100:], ("well", "dead")),
        "features": features,
    }


@pytest.fixture(scope="module")
def plain(pictures: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pictures in folders without classes."""
    base = tmp_path_factory.mktemp("plain")
    for name in ("real", "other"):
        (base / name).mkdir()
        for file in pictures[name].rglob("*.png"):
            (base / name / file.name).write_bytes(file.read_bytes())
    return {name: base / name for name in ("real", "other")}


def test_plain_folders_are_compared_without_labels(
    capfd: pytest.CaptureFixture[str], pictures: dict[str, Path], plain: dict[str, Path]
) -> None:
    found = scored(capfd, pictures, str(plain["real"]), str(plain["other"]))
    labelled = scored(capfd, pictures, "real", "other")
    # Named features do not depend on labels, and neither does the distance between all images.
    assert found["fid"]["value"] == pytest.approx(labelled["fid"]["value"], rel=1e-6)
    assert (found["fid"]["n_real"], found["fid"]["n_fake"]) == (60, 40)
    assert found["accuracy"]["value"] is None
    mixed = scored(capfd, pictures, "cohort", str(plain["other"]))
    assert mixed["fid"]["value"] > 0
    assert mixed["lesion_fidelity"]["value"] is None


def test_what_is_not_measured_is_told_in_a_few_lines(
    capfd: pytest.CaptureFixture[str],
    pictures: dict[str, Path],
    plain: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    words = ["score", str(plain["real"]), str(plain["other"]), "--features", str(pictures["features"])]
    assert main([*words, f"--size={SIZE}"]) == 0
    lines = capfd.readouterr().out.splitlines()
    below = [line for line in lines if line.startswith("Not measured")]
    assert len(below) < 8
    assert "Not measured, the sets are not paired: psnr, ssim, ms_ssim, ms_gmsd, lpips." in below
    assert not any(line.split()[1:2] == ["-"] for line in lines)


def scored(capfd: pytest.CaptureFixture[str], pictures: dict[str, Path], *words: str) -> dict[str, Any]:
    paths = [str(pictures.get(word, word)) for word in words]
    assert main(["score", *paths, "--features", str(pictures["features"]), f"--size={SIZE}", "--json"]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def test_a_cohorts_training_patients_are_what_was_seen(
    pictures: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    found = scored(capfd, pictures, "cohort", "replay")
    assert found["copies_pixels"]["value"] == found["copies_features"]["value"] == 1.0
    assert found["membership_auc_pixels"]["value"] == 1.0
    assert found["membership_auc_pixels"]["n_real"] == 48, "training and validation, not test"
    assert scored(capfd, pictures, "cohort", "other")["copies_pixels"]["value"] == 0.0


def test_what_was_seen_can_be_named(pictures: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    found = scored(capfd, pictures, "other", "replay", "--training", "cohort")
    assert found["copies_pixels"]["value"] == 1.0
    assert found["membership_auc_pixels"]["n_real"] == 30 + 40
    without = scored(capfd, pictures, "other", "replay")
    assert without["copies_pixels"]["value"] is None
    assert without["copies_pixels"]["reason"] == "no training images were named"


def test_other_classes_are_refused_by_name(pictures: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(pictures["cohort"]), str(pictures["third"])]) == 2
    assert f"{pictures['third']}: has class 'dead', REAL has ill, well" in capfd.readouterr().err


def test_pairs_of_a_cohort_go_by_its_manifest_not_by_its_splits(
    pictures: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each fake image is its real one, one grey level lighter: 48.13 dB, whatever part of the cohort it is in."""
    dark = np.random.default_rng(1).integers(0, 255, (40, SIZE, SIZE), dtype=np.uint8)
    real, lighter = write_folder(tmp_path / "real", dark), write_folder(tmp_path / "lighter", dark + 1)
    cohort = ingest(real, tmp_path / "cohort", IngestSettings(size=SIZE, split=(0.5, 0.5, 0)))
    splits = Cohort.open(cohort.path).manifest["split"]
    assert not splits.is_monotonic_increasing
    for paths in ((real, lighter), (cohort.path, lighter)):
        found = scored(capfd, pictures, *map(str, paths), "--paired")
        assert found["psnr"]["value"] == pytest.approx(48.13, abs=0.01)
        assert found["psnr"]["n_fake"] == 40


def test_pairs_are_refused_where_other_images_are_left_out(
    pictures: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = IngestSettings(size=SIZE, split=(0.5, 0.3, 0.2), seed=1)
    again = ingest(pictures["real"], tmp_path / "again", settings).path
    assert main(["score", str(pictures["cohort"]), str(again), "--paired", f"--size={SIZE}"]) == 2
    assert "again: its test images, which are left out, are not the counterparts of REAL's" in capfd.readouterr().err
    same = scored(capfd, pictures, "cohort", str(pictures["cohort"]), "--paired")
    assert same["psnr"]["reason"] == "infinite: some pairs are equal"


def test_samples_that_look_alike_are_not_taken_for_one_patients(
    pictures: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    collapsed = np.tile(rng.integers(0, 250, (1, SIZE, SIZE), dtype=np.uint8), (20, 1, 1))
    collapsed += rng.integers(0, 3, collapsed.shape, dtype=np.uint8)
    found = scored(capfd, pictures, "real", str(write_folder(tmp_path / "collapsed", collapsed)))
    assert found["fid"]["n_fake"] == 20
    assert found["fid"]["low"] is not None, found["fid"]["reason"]
