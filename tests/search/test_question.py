"""The whole question: what the patients can show is told first, and what was begun goes on."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.experiment import Experiment
from gansweep.options import AnswerOptions, SweepOptions
from gansweep.report.html import report_html
from gansweep.report.question_page import question_html
from gansweep.scoring.arms import RIVALS
from gansweep.scoring.power import NetworkSeconds, Power, Rivals, power_of
from gansweep.search import question as module
from gansweep.search.cluster import ray_cluster
from gansweep.search.confirmation_file import confirmation
from gansweep.search.question import Found, answer_question, power_text
from gansweep.search.spaces import load_space
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store

ROOT = Path(__file__).parents[2]
SPACE = f"{Path(__file__).with_name('tiny_space.py')}:tiny"
SLOW = f"{Path(__file__).with_name('tiny_space.py')}:slow"


def options(tmp_path: Path, **values: Any) -> AnswerOptions:
    return AnswerOptions(**{"storage": str(tmp_path / "runs"), "name": "q", "space": SPACE, **values})


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ray_cluster", lambda: pytest.fail("a cluster was started"))


def test_what_patients_can_show_at_most() -> None:
    """80 % right: 20 points are missing. Against Newcombe-style adjusted variances, by hand for 100 and 20 patients."""
    many, few = power_of(0.8, 100, 100, claims=4), power_of(0.8, 100, 20, claims=4)
    assert (many.gain, many.accuracy) == (pytest.approx(0.2), 0.8)
    variance = (81 / 102) * (21 / 102) + (101 / 102) * (1 / 102)
    quantiles = 2.4977 + 0.8416  # 1 - 0.05 / 8, and a power of 0.8
    assert many.shown == pytest.approx(quantiles * (variance / 100) ** 0.5, abs=1e-3)
    assert many.needed == few.needed == pytest.approx(quantiles**2 * variance / 0.2**2, abs=1)
    assert not many.hopeless
    assert few.hopeless
    assert power_of(1.0, 100, 1000, claims=4).hopeless, "there is nothing to gain"


def test_power_is_told_in_words() -> None:
    assert power_text(Power(0.8, 0.2, 0.14, 48, 30, 100)) == (
        "detectors of real images alone are right in 80 % of 30 validation patients (95 % interval 63 to 90 %), so a "
        "change can be about +20 points at most, and 100 test patients show changes of about 14 points or more"
    )
    assert power_text(Power(0.8, 0.2, 0.3, 48, 30, 20)).endswith(
        "and to show even that would take 48 test patients, of which there are 20"
    )
    assert power_text(Power(1.0, 0.0, 0.1, None, 30, 20)).endswith("and by this estimate there is nothing to gain")


def test_the_best_rival_is_not_the_base() -> None:
    scores = {"real": {"accuracy": 0.9}, "a": {"accuracy": 0.7}, "b": {"accuracy": 0.8}}
    assert Rivals(scores).best() == "b"
    assert Rivals({"real": {"accuracy": 0.9}}).best() is None


@pytest.mark.usefixtures("no_cluster")
def test_where_nothing_can_be_shown_nothing_is_searched(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = answer_question(cohort_path, options(tmp_path), cache=tmp_path / "cache")
    assert found.state == "nothing can be shown"
    assert found.answer.startswith("Nothing can be shown with these patients, so nothing was searched: detectors of")
    assert not (tmp_path / "runs").exists()
    assert list(found.rivals.scores)[:2] == ["real", "real + MixUp"]
    assert "real + pasted lesions" in found.rivals.scores, "the phantoms have masks"
    # 14 arms: three without a generator, four ratios, synthetic images only and six rivals; 3 x 3 networks each.
    confirming = module._confirming(options(tmp_path))
    both, detectors = (
        module._network_seconds(replace(found, networks=replace(found.networks, segmenter=seconds)), confirming, 1)
        for seconds in (found.networks.segmenter, 0.0)
    )
    assert found.networks.segmenter > 0
    assert both - detectors == pytest.approx(14 * 9 * found.networks.segmenter)
    assert module._network_seconds(found, confirming, 2) == pytest.approx(both * 2 / 3), "two of three at once"
    monkeypatch.setattr("gansweep.scoring.power.rival_arms", lambda *_, **__: pytest.fail("trained again"))
    again = answer_question(cohort_path, options(tmp_path), cache=tmp_path / "cache")
    assert again.rivals == found.rivals


@pytest.mark.usefixtures("no_cluster")
def test_a_question_without_a_search_has_a_page(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page = tmp_path / "answer.html"
    words = [
        "answer",
        str(cohort_path),
        f"--storage={tmp_path / 'runs'}",
        f"--space={SPACE}",
        f"--out={page}",
        "--json",
    ]
    assert main(words) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["report"] == str(page)
    text = page.read_text("utf-8")
    for told in (document["answer"], *document["rivals"], f"<dd>{document['power']['test']}</dd>", cohort_path.name):
        assert str(told) in text
    assert not (tmp_path / "runs").exists()


def test_more_patients_are_advised_only_where_there_is_something_to_gain() -> None:
    rivals = Rivals({"real": {"accuracy": 1.0, "auroc": 1.0}})
    for accuracy, advised in ((0.8, True), (1.0, False)):
        page = question_html(Found(power_of(accuracy, 30, 20, claims=4), rivals, NetworkSeconds(1.0)), "mine")
        assert ("Ingest more test patients" in page) is advised
        assert ("Ask a harder question" in page) is not advised


def begun(cohort_path: Path, tmp_path: Path, **values: Any) -> Store:
    """The store of a search that has begun, without any trial."""
    asked = options(tmp_path, **values)
    scans = Cohort.open(cohort_path)
    experiment = load_space(SPACE).with_settings(asked.settings)
    info = describe_sweep(experiment, scans, module._sweep_options(asked, scans, {}), space=SPACE)
    return Store.create(asked.storage, "q", info)


@pytest.mark.usefixtures("no_cluster")
def test_the_answer_is_not_that_of_another_cohort_or_search(cohort_path: Path, tmp_path: Path) -> None:
    """Also once it has a verdict. Sweeps are named like the cohort's folder, and two cohorts may have the same name."""
    store = begun(cohort_path, tmp_path)
    store.write_bytes("confirm.json", b"{}")
    write_phantom(tmp_path / "scans", patients=40, slices=1, size=32, seed=9)
    ingest(tmp_path / "scans", tmp_path / "other", IngestSettings(size=16))
    with pytest.raises(StoreError, match=r"q: this sweep is of cohort \w{12}, not \w{12}; give the same cohort, or"):
        answer_question(tmp_path / "other", options(tmp_path))
    with pytest.raises(StoreError, match=r"q: this sweep has family = what the space says, not dcgan; give the same"):
        answer_question(cohort_path, options(tmp_path, settings={"family": "dcgan"}))
    with pytest.raises(StoreError, match=r"q: this sweep has seed = 0, not 1; give the same settings, or choose"):
        answer_question(cohort_path, options(tmp_path, seed=1))


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("length", [{}, {"iterations": 90}])
def test_a_search_that_began_nevertheless_keeps_its_page(
    cohort_path: Path, tmp_path: Path, length: dict[str, int]
) -> None:
    store = begun(cohort_path, tmp_path, settings=length)
    found = answer_question(cohort_path, options(tmp_path), cache=tmp_path / "cache")
    assert found.store is not None
    assert found.store.uri == store.uri
    assert found.skipped == ["all further steps: nothing can be shown with these patients; --even-if-hopeless goes on"]
    assert "so nothing was searched" not in found.answer


@pytest.mark.usefixtures("no_cluster")
def test_mistakes_are_told_before_anything_is_trained(cohort_path: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "scans", patients=8, slices=1, size=64, seed=1)
    ingest(tmp_path / "scans", tmp_path / "few", IngestSettings(size=16, split=(0.5, 0.25, 0.25)))
    with pytest.raises(CohortError, match=r"1 test patient.s. with fahr, and a verdict needs 2"):
        answer_question(tmp_path / "few", options(tmp_path))
    with pytest.raises(ConfigError, match="'soon' is not a time above zero"):
        answer_question(cohort_path, options(tmp_path, time_budget="soon"))
    with pytest.raises(ConfigError, match="unknown search space 'fahr'"):
        answer_question(cohort_path, options(tmp_path, space="fahr"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("network_s", "searched"), [(1.0, "356s"), (60.0, "450s")])
def test_time_that_is_too_short_for_a_verdict_is_used_for_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network_s: float, searched: str
) -> None:
    """Of 600 s, 126 networks of a second leave 474, those of a minute nothing. A quarter is for trainings."""
    asked: list[SweepOptions] = []

    def swept(_: Experiment, options: SweepOptions, **_space: str) -> Any:
        asked.append(options)
        return SimpleNamespace(latest_trials=lambda: pd.DataFrame({"status": [], "seconds": []}))

    monkeypatch.setattr(module, "sweep", swept)
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    rivals = Rivals({"real": {}, **{title: {} for title in RIVALS.values()}})
    found = Found(power_of(0.8, 100, 100, claims=4), rivals, NetworkSeconds(network_s))
    monkeypatch.setattr(module, "iterations_within", lambda *_: None)
    monkeypatch.setattr(module, "node_resources", lambda: [{"CPU": 1.0}])
    scans: Any = SimpleNamespace(path=Path("cohort"))
    search = module._Search(scans, load_space(SPACE), lambda _: None, SPACE, options(tmp_path), deadline=600.0)
    search.run(found, None)
    assert [options.time_budget for options in asked] == [searched]
    assert found.skipped == ["repeat and confirm: no trial completed in the time"]


def search_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: Any) -> tuple[Any, list[float]]:
    """A search, and the seconds that a training may take, as they are asked for."""
    allowed: list[float] = []
    monkeypatch.setattr(module, "iterations_within", lambda seconds, *_: allowed.append(seconds) or 200)
    scans: Any = SimpleNamespace(path=Path("cohort"))
    asked = options(tmp_path, **values)
    return module._Search(scans, load_space(SPACE), lambda _: None, SPACE, asked, deadline=0.0), allowed


def test_trainings_are_as_long_as_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,600 s, a quarter is for seven trainings of the leaders, two at once: 100 s each, with their scores."""
    search, allowed = search_with(tmp_path, monkeypatch, leaders=2, repeats=2, gan_seeds=3)
    networks = search.experiment.reports * search.experiment.scoring.detector_seeds
    found = Found(power_of(0.8, 100, 100, claims=4), Rivals({"real": {}}), NetworkSeconds(5.0, 1.0))
    assert search._length(found, None, 1_600.0, 2) == {"iterations": 200}
    assert allowed == [pytest.approx(100.0 - 6.0 * networks)]
    assert search._length(found, None, 1.0, 2) == {"iterations": 200}
    assert allowed[1] == 0.0, "the scores alone take longer"


def test_the_length_of_the_user_or_of_the_sweep_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Found(power_of(0.8, 100, 100, claims=4), Rivals({"real": {}}), NetworkSeconds(1.0))
    search, allowed = search_with(tmp_path, monkeypatch, set={"iterations": 500})
    assert search._length(found, None, 100.0, 2) == {}
    search, _ = search_with(tmp_path, monkeypatch)
    for overrides, expected in (({"iterations": 90, "lr_d": 1e-4}, {"iterations": 90}), ({}, {})):
        begun: Any = SimpleNamespace(info=SimpleNamespace(experiment={"overrides": overrides}))
        assert search._length(found, begun, 100.0, 2) == expected
    assert allowed == []


@pytest.mark.acceptance
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_whole_question_ends_with_the_sentence(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = {"trials": 2, "leaders": 1, "detector_seeds": 1, "settings": {"family": "dcgan"}}
    asked = options(tmp_path, even_if_hopeless=True, **small)
    with ray_cluster():
        found = answer_question(cohort_path, asked)
    assert found.skipped == []
    assert found.store is not None
    assert len(found.store.latest_trials()) == 2 + 2, "two trials, and the leader twice more"
    assert len(found.store.info.test_openings) == 1
    assert "The test patients are unopened" not in report_html(found.store)
    confirmed = json.loads(found.store.read_bytes("confirm.json"))
    assert found.answer == confirmed["answer"]
    monkeypatch.setattr(module, "ray_cluster", lambda: pytest.fail("a cluster was started"))
    words = ["answer", str(cohort_path), f"--storage={tmp_path / 'runs'}", "--name=q", f"--space={SPACE}"]
    words += ["--set=family=dcgan", "--even-if-hopeless", "--detector-seeds=1", f"--out={tmp_path / 'answer.html'}"]
    capfd.readouterr()  # of Ray
    assert main([*words, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["answer"] == confirmed["answer"]
    assert confirmed["answer"].split(";")[0][:40] in (tmp_path / "answer.html").read_text("utf-8")


@pytest.mark.acceptance
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_question_that_was_stopped_goes_on(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["answer", str(cohort_path), f"--storage={tmp_path / 'runs'}", "--name=q", f"--space={SLOW}"]
    words += ["--trials=3", "--leaders=1", "--detector-seeds=1", "--even-if-hopeless", f"--out={tmp_path / 'a.html'}"]
    path = os.pathsep.join([*map(str, (ROOT / "platform", ROOT)), os.environ.get("PYTHONPATH", "")])
    first = subprocess.Popen(
        [sys.executable, "-m", "gansweep.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        # A shell's background jobs, and so their children, ignore SIGINT until told otherwise.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    assert first.stderr is not None
    assert any("trial 0000 completed" in line for line in first.stderr)
    first.send_signal(signal.SIGINT)
    assert "stopped; the same command goes on from here" in first.communicate(timeout=120)[1]
    assert first.returncode == 130
    store = Store.open(str(tmp_path / "runs" / "q"))
    before = {row.trial_id: row for row in store.latest_rows()}
    assert before["0000"].status == "completed"
    assert confirmation(store) is None

    assert main([*words, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["skipped"] == []
    after = {row.trial_id: row for row in store.latest_rows()}
    assert after["0000"] == before["0000"], "it is not trained again"
    assert sorted(name for name, row in after.items() if not row.repeat_of) == ["0000", "0001", "0002"]
    assert document["answer"] == json.loads(store.read_bytes("confirm.json"))["answer"]
