"""The page of a cohort: its numbers are the cohort's, its pictures are there, and it needs no network."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gansweep.cli.app import main
from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.errors import CohortError
from gansweep.report.cohort_page import _reasons, cohort_html, write_cohort_page
from gansweep.report.space_fit import fitting_spaces, seconds_per_trial
from tests.browser import opened
from tests.cohort.scans import CLASSES, write_picture, write_slice

if TYPE_CHECKING:
    from gansweep.config import TrialConfig


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("page")
    write_phantom(folder / "scans", patients=12, slices=2, size=64, seed=3)
    (folder / "scans" / "notes.mha").write_text("not read")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "scans" / "images" / "more.png")
    return Cohort.open(ingest(folder / "scans", folder / "cohort", IngestSettings(size=32)).path)


def rows_of(page: str, first: str) -> list[list[str]]:
    """The cells of the first table whose first header is `first`."""
    table = next(part for part in re.findall(r"<table>.*?</table>", page, re.DOTALL) if f">{first}</th>" in part)
    lines = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]
    return [[cell.strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", line, re.DOTALL)] for line in lines]


def test_the_tables_hold_the_cohorts_numbers(cohort: Cohort) -> None:
    page = cohort_html(cohort, spaces=fitting_spaces(cohort), trial_s=5400)
    assert rows_of(page, "class")[:2] == [["control", "8 (4)", "2 (1)", "2 (1)"], ["fahr", "8 (4)", "2 (1)", "2 (1)"]]
    assert rows_of(page, "reason") == [
        ["has no row in the labels CSV", "1"],
        ["files of this kind are not read (.mha)", "1"],
    ]
    assert rows_of(page, "size of the originals") == [["64 x 64", "24"]]
    assert ["fahr_ct_masks", "yes, made for such a cohort", "10000"] in rows_of(page, "space")
    assert "One trial of fahr_ct_masks (10000 iterations) would train for about 1.5 h on this machine" in page
    assert "This page shows pictures of patients" in page
    assert all(warning in page for warning in cohort.info.warnings)


def test_the_page_needs_no_network_and_names_nobody(cohort: Cohort) -> None:
    page = cohort_html(cohort)
    without_script = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=\"(?!data:)", without_script)
    assert "default-src 'none'" in page
    assert "PHANTOM" not in page
    assert not any(patient in page for patient in cohort.manifest["patient"])


def test_a_contact_sheet_shows_the_pictures(cohort: Cohort) -> None:
    page = cohort_html(cohort)
    (data,) = re.findall(r'alt="fahr, val" src="data:image/png;base64,([^"]+)"', page)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"), np.float32)
    assert sheet.shape == (74, 2 * 74)
    rows = np.flatnonzero((cohort.manifest["label"] == "fahr") & (cohort.manifest["split"] == "val"))
    for place, row in enumerate(rows):
        expected = cohort.images[row, 0].astype(np.float32) / cohort.info.scale * 255
        tile = sheet[:72, place * 74 : place * 74 + 72]
        assert abs(tile.mean() - expected.mean()) < 3
        assert abs(np.corrcoef(tile[4::9, 4::9].ravel(), expected[2::4, 2::4].ravel())[0, 1]) > 0.7


def test_pairs_in_two_splits_come_first(tmp_path: Path) -> None:
    seeds = iter(range(100))
    for split in ("train", "val", "test"):
        for label in ("control", "fahr"):
            for number in range(3):
                path = tmp_path / "source" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                rng = np.random.default_rng(next(seeds))
                Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)).save(path)
    near = Image.open(tmp_path / "source/train/fahr/0.png")
    near.resize((40, 40), Image.Resampling.BICUBIC).save(tmp_path / "source/test/fahr/9.png")
    near.resize((60, 60), Image.Resampling.BICUBIC).save(tmp_path / "source/train/fahr/9.png")
    cohort = Cohort.open(ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=20)).path)
    page = cohort_html(cohort)
    assert "3 pairs, 2 of them in two splits" in page
    captions = re.findall(r"<figcaption>near: (.*?)</figcaption>", page)
    assert [set(text.split(" | ")) for text in captions] == [{"fahr, train", "fahr, test"}] * 2 + [{"fahr, train"}]


def test_the_command(cohort: Cohort, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", str(cohort.path), "--out", str(tmp_path / "page.html"), "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert Path(shown["page"]).read_text().startswith("<!DOCTYPE html>")
    assert shown["spaces"][0] == {"name": "fahr_ct_masks", "problem": "", "iterations": 10000, "nearest": True}
    assert main(["cohort", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    with pytest.raises(CohortError, match="is a folder"):
        write_cohort_page(cohort, tmp_path)
    before = (cohort.path / "cohort.json").read_bytes()
    assert main(["cohort", str(cohort.path), "--out", str(cohort.path / "cohort.json")]) == 2
    assert "cohort.json: lies in" in capfd.readouterr().err
    assert (cohort.path / "cohort.json").read_bytes() == before


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (
            "/proc/page.html",
            "cannot write here: No such file or directory; name a file in a writable folder with --out",
        ),
        ("{tmp}/file/page.html", "cannot write here: its folder is a file; name another file"),
        ("{tmp}/" + "x" * 300, "cannot write here: File name too long; name another file"),
        ("~no-such-user/a.html", "there is no such user; write out the path"),
    ],
)
def test_a_page_that_cannot_be_written_is_told(
    cohort: Cohort, tmp_path: Path, capfd: pytest.CaptureFixture[str], out: str, says: str
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["cohort", str(cohort.path), "--out", out.format(tmp=tmp_path)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(f": {says}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("each_s", "expected"), [(3.0, 2 + 3.0 * 10_000), (0.0, 2 + 0.5 * 9_996)])
def test_a_trial_is_timed_after_a_run_that_warms_up(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch, each_s: float, expected: float
) -> None:
    """The first run of a process takes a minute longer, and any run 2 s whatever its length."""
    clock = [0.0]
    runs: list[int] = []

    def train(config: TrialConfig, *_arguments: Any, **_options: Any) -> None:
        clock[0] += (2 if runs else 62) + each_s * config.iterations
        runs.append(config.iterations)

    monkeypatch.setattr("gansweep.training.loop.train", train)
    monkeypatch.setattr("gansweep.devices.time.perf_counter", lambda: clock[0])
    assert seconds_per_trial(cohort, "fahr_ct_masks") == pytest.approx(expected)
    assert runs == [1, 1, 4]


def test_ingest_ends_by_naming_the_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_phantom(tmp_path / "scans", patients=12, slices=1, size=32, seed=3)
    assert main(["ingest", str(tmp_path / "scans"), str(tmp_path / "my cohort"), "--size", "16"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == f"look at it: gansweep cohort '{tmp_path / 'my cohort'}' --out cohort.html"
    assert "  control  4 (4)  1 (1)  1 (1)" in lines


def test_few_spacings_are_a_table_and_many_a_figure(cohort: Cohort, tmp_path: Path) -> None:
    page = cohort_html(cohort)
    assert len(rows_of(page, "pixel spacing (mm)")) == 1
    assert rows_of(page, "pixel spacing (mm)")[0][1:] == ["12", "12"]
    assert "Spacings by class" not in page
    for patient in range(20):
        write_slice(
            tmp_path / "s" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1, PixelSpacing=[1 + patient] * 2
        )
    page = cohort_html(Cohort.open(ingest(tmp_path / "s", tmp_path / "out", IngestSettings(size=16)).path))
    assert "pixel spacing (mm)</th>" not in page
    assert "Spacings by class" in page


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
@pytest.mark.slow
def test_the_page_fits_the_screen_in_light_and_dark(tmp_path: Path, width: int, dark: bool) -> None:
    for number in range(8):
        write_picture(tmp_path / "s" / CLASSES[number % 2] / f"{number}.png", number)
    out = tmp_path / "a_cohort_with_a_name_that_is_longer_than_any_telephone_is_wide"
    cohort = Cohort.open(ingest(tmp_path / "s", out, IngestSettings(size=16)).path)
    written = write_cohort_page(cohort, tmp_path / "cohort.html", spaces=fitting_spaces(cohort))
    with opened(written, width=width, dark=dark) as page:
        page.wait_for_function("document.documentElement.dataset.charts === 'drawn'")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")
        expected = ("rgb(20, 24, 29)", "rgb(230, 233, 237)") if dark else ("rgb(255, 255, 255)", "rgb(36, 41, 47)")
        assert (paper, ink) == expected


@pytest.mark.parametrize("content", [b"", b"x" * 2000, None])
def test_a_damaged_list_of_files_left_out_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "rejected.parquet"
    if content is None:
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        path.write_bytes(content)
    with pytest.raises(CohortError, match=r"rejected\.parquet: is no table of the files left out; ingest again"):
        _reasons(tmp_path)
    pd.DataFrame({"path": ["a", "b"], "reason": ["x", "x"]}).to_parquet(path)
    assert _reasons(tmp_path) == {"x": 2}
