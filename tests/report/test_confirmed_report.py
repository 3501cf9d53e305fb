"""What `confirm` found, in the report: arms, ROC curves, confusion matrices; and in a browser."""

from __future__ import annotations

import copy
import json
import re
import shutil
from typing import TYPE_CHECKING

import optuna
import pytest
import torch

from gansweep.config import Objective
from gansweep.contracts import ImageSet
from gansweep.report.confirmation_figures import arm_rows, confusion_tables, mask_arm_rows, roc_figure
from gansweep.report.html import report_html, write_report
from gansweep.report.provenance import command_of, provenance
from gansweep.scoring.statistics.curves import arm_curves
from gansweep.search.confirmation_file import RESULT
from gansweep.store.store import Store
from tests.report.example_sweep import make_info, run_trial
from tests.report.test_html import _chromium
from tests.search.test_answer import NO_EVIDENCE, SENTENCE, comparison, result, with_segmenters

if TYPE_CHECKING:
    from pathlib import Path

CONFIRMED = result(NO_EVIDENCE)
(LEADER,) = CONFIRMED["leaders"]
LEADER["arms"] = {
    name: {"accuracy": [0.552, 0.201, 0.858], "auroc": [0.635, 0.234, 0.908]} for name in ("real", *NO_EVIDENCE)
}
TEST = ImageSet(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), None, ("a", "b", "c", "d"))
SAID = torch.tensor([[[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]]])
LEADER["curves"] = arm_curves([dict.fromkeys(LEADER["arms"], SAID)], TEST, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = Store.create(str(tmp_path_factory.mktemp("storage")), "fahr", make_info())
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(12):
        run_trial(store, study)
    store.write_bytes(RESULT, json.dumps(CONFIRMED).encode())
    return store


def test_arms_have_values_with_intervals_and_verdicts() -> None:
    rows = {row["arm"]: row for row in arm_rows(CONFIRMED)}
    assert rows["real"] == {
        "trial": "0001",
        "arm": "real",
        "accuracy": "55.2 % (20.1 to 85.8)",
        "sensitivity": "-",
        "specificity": "-",
        "auroc": "63.5 % (23.4 to 90.8)",
        "difference": "",
        "verdict": "",
    }
    assert rows["real + 1 synthetic"]["difference"] == "+12.5 pp (-16.5 to +41.5)"
    assert rows["real + 1 synthetic"]["verdict"] == "no evidence"


def test_the_aims_verdict_stands_before_that_on_accuracy(store: Store) -> None:
    found = copy.deepcopy(CONFIRMED)
    (leader,) = found["leaders"]
    leader["comparisons"]["real + 1 synthetic"]["auroc"] = comparison(0.08, 0.02, 0.14, 0.01, "helps")
    row = {row["arm"]: row for row in arm_rows(found, "auroc")}["real + 1 synthetic"]
    assert (row["verdict"], row["difference"]) == ("helps", "+8.0 pp (+2.0 to +14.0)")
    assert (row["usual_verdict"], row["usual_difference"]) == ("no evidence", "+12.5 pp (-16.5 to +41.5)")
    before = store.info.objectives
    try:
        store.update_info(objectives=(before[0], Objective(name="auroc", direction="maximize")))
        store.write_bytes(RESULT, json.dumps(found).encode())
        page = report_html(store)
    finally:
        store.update_info(objectives=before)
        store.write_bytes(RESULT, json.dumps(CONFIRMED).encode())
    assert "Synthetic images help: adding them changed auroc by +8.0 points" in page
    assert "Difference: in AUROC, to real images alone." in page
    assert '<td class="name">helps</td><td>+8.0 pp (+2.0 to +14.0)</td><td class="name">no evidence</td>' in page
    assert "verdict on accuracy" not in report_html(store)


def test_matrices_and_curves_are_the_predictions() -> None:
    matrix = confusion_tables(CONFIRMED, ("control", "fahr"))[0]
    assert matrix == {"arm": "real", "rows": [("control", ["1", "1"]), ("fahr", ["1", "1"])]}
    figure = roc_figure(CONFIRMED)
    assert figure is not None
    assert [trace.name for trace in figure.data] == [*LEADER["arms"], "guessing"]
    # The diseased image at 0.8 is above every healthy one, that at 0.3 below one of the two.
    assert figure.data[0].y[1] == 50.0
    assert figure.data[0].y[-1] == 100.0


def test_a_result_without_curves_has_none() -> None:
    plain = {**CONFIRMED, "leaders": [{name: value for name, value in LEADER.items() if name != "curves"}]}
    assert roc_figure(plain) is None
    assert confusion_tables(plain, ("control", "fahr")) == []


def test_the_answer_stands_before_front_curves_and_caveats(store: Store) -> None:
    page = report_html(store).partition("<main>")[2]
    order = [SENTENCE, "<h1>", "On the test patients", "ROC curves</h2>", "Confusion matrices", "Objectives</h2>"]
    order += ["Learning curves</h2>", "Leaderboard</h2>", "Before you quote a number", "Provenance</h2>"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)


def test_segmenters_have_a_table_of_their_own_and_a_note_if_there_are_none(store: Store) -> None:
    assert "Segmentation of the test patients" not in report_html(store)
    found = with_segmenters()
    rows = {row["arm"]: row for row in mask_arm_rows(found)}
    assert rows["real + 1 synthetic"] == {
        "trial": "0001",
        "arm": "real + 1 synthetic",
        "dice": "70.0 % (60.0 to 80.0)",
        "difference": "+1.2 pp (-1.1 to +3.5)",
        "verdict": "no evidence",
    }
    assert mask_arm_rows(CONFIRMED) == []
    try:
        store.write_bytes(RESULT, json.dumps(found).encode())
        page = report_html(store)
        assert "<h2>Segmentation of the test patients</h2>" in page
        assert "<td>+1.2 pp (-1.1 to +3.5)</td><td>70.0 % (60.0 to 80.0)</td>" in page
        refused = result(NO_EVIDENCE)
        refused["leaders"][0]["no_segmentation"] = "1 test patient(s) with a lesion mask, and a verdict needs 2"
        store.write_bytes(RESULT, json.dumps(refused).encode())
        assert "No verdict on Dice for trial 0001: 1 test patient(s) with a lesion mask" in report_html(store)
    finally:
        store.write_bytes(RESULT, json.dumps(CONFIRMED).encode())


def test_provenance_is_enough_to_run_it_again() -> None:
    options = {
        "cohort": "/data/site/cohort",
        "trials": 9,
        "workers_per_trial": 2,
        "set": {"iterations": 2000},
        "seed": 3,
    }
    experiment = {
        "overrides": {"iterations": 2000},
        "scoring": {"samples": 512, "detector": "small_cnn"},
        "sampler": "tpe",
        "scheduler": {"kind": "asha", "grace": 1},
    }
    info = make_info(options=options, experiment=experiment)
    assert command_of(info) == (
        "gansweep sweep fahr_ct --cohort=COHORT --storage=STORAGE '--name=fahr <first>' --trials=14 "
        "--workers-per-trial=2 --set=iterations=2000 --seed=3"
    )
    rows = provenance(info)
    assert rows["Overrides"] == "iterations 2000"
    assert rows["Scoring"] == "samples 512, detector small_cnn"
    assert rows["Sampler, scheduler"] == "tpe, asha (grace 1)"
    assert "/data" not in " ".join(rows.values())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_draws_every_chart_with_tools_and_without_errors(store: Store, tmp_path: Path) -> None:
    page = write_report(store, tmp_path / "report.html")
    ran = _chromium("--dump-dom", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", page.as_uri())
    errors = [line for line in ran.stderr.splitlines() if "CONSOLE" in line and "WebGL" not in line]
    assert errors == []
    assert 'data-charts="drawn"' in ran.stdout
    assert ran.stdout.count(">Data (CSV)</button>") == 9
    buttons = re.findall(r'<button type="button" aria-pressed="true">([^<]+)</button>', ran.stdout)
    assert {"real + 1 synthetic", "other trials", "Pareto front (completed)"} <= set(buttons)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.slow
def test_data_of_a_chart_and_its_toggles(store: Store, tmp_path: Path) -> None:
    """Runs the page's own functions in the browser and reads what they leave in the document."""
    probe = """
<script>
addEventListener("load", async () => {
  while (!document.documentElement.dataset.charts) await new Promise((go) => setTimeout(go, 50));
  const chart = document.getElementById("objectives");
  const toggle = [...chart.closest("figure").querySelectorAll("button")].find((made) => made.textContent === "stopped");
  toggle.focus();
  toggle.click();
  await new Promise((go) => setTimeout(go, 300));
  const found = document.createElement("pre");
  found.id = "probe";
  found.textContent = JSON.stringify({
    csv: csv(chart), parallel: csv(document.getElementById("configurations")).split("\\n")[0],
    pressed: toggle.getAttribute("aria-pressed"), hidden: chart._fullData.map((trace) => trace.visible),
  });
  document.body.append(found);
});
</script></body>"""
    page = tmp_path / "probed.html"
    page.write_text(report_html(store).replace("</body>", probe))
    ran = _chromium("--dump-dom", f"--user-data-dir={tmp_path / 'profile'}", page.as_uri())
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', ran.stdout, re.DOTALL)[1].replace("&gt;", ">"))
    header, *rows = found["csv"].splitlines()
    assert header == "series,trial,x,y"
    assert len([row for row in rows if row.startswith("completed,")]) == 8
    assert found["parallel"].endswith("fid,accuracy")
    assert found["pressed"] == "false"
    assert found["hidden"] == [True, "legendonly", True]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize(("scheme", "paper"), [("1", (255, 255, 255)), ("0", (0x14, 0x18, 0x1D))])
@pytest.mark.slow
def test_the_page_follows_the_systems_colours(
    store: Store, tmp_path: Path, scheme: str, paper: tuple[int, ...]
) -> None:
    import numpy as np
    from PIL import Image

    page = write_report(store, tmp_path / "report.html")
    picture = tmp_path / "page.png"
    _chromium(
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={picture}",
        "--window-size=390,1400",
        page.as_uri(),
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    assert tuple(values[counts.argmax()]) == paper


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_texts_have_the_contrast_of_wcag_aa(store: Store) -> None:
    style = report_html(store).partition("<style>")[2].partition("</style>")[0]
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(themes) == 3
    for theme in themes[:2]:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for text, ground in [(a, b) for a in ("ink", "faint", "accent") for b in ("paper", "soft")] + [
            ("ink", "caution")
        ]:
            light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
