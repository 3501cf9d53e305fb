"""A leader's choices taken back: fresh seeds, the same for all, kept as they end, and judged in pairs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.errors import ConfigError, StoreError
from gansweep.experiment import Experiment
from gansweep.options import AblateOptions
from gansweep.report.ablation_figure import ablation_figure
from gansweep.search import ablate as module
from gansweep.search.ablate import ALL, RESULT, TABLE, _place, ablate, ablation
from gansweep.search.cluster import ray_cluster
from gansweep.search.spaces import load_space
from gansweep.search.start import START
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from gansweep.training.build import build_gan
from gansweep.training.start import Start
from tests.values import sweep_options

SPACE = Path(__file__).with_name("tiny_space.py")
PAPER = TrialConfig(
    iterations=6, batch_size=8, n_critic=1, architecture={"width": 8, "latent": 8, "generator_norm": "group"}
)
LEADER = PAPER.derive({"lr_d": 1e-3, "synthetic_ratio": 1.0})


@pytest.fixture
def experiment() -> Experiment:
    return load_space(f"{SPACE}:tiny")


@pytest.fixture
def store(experiment: Experiment, cohort_path: Path, tmp_path: Path) -> Store:
    """A sweep of two trials: the paper's, and a better one."""
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(trials=2), space="tiny")
    store = Store.create(str(tmp_path), "s", info)
    for number, (config, fid) in enumerate([(PAPER, 9.0), (LEADER, 4.0)]):
        scores = {"fid": fid, "accuracy": 1 - fid / 20}
        store.write_trial(TrialRow(f"{number:04d}", 0, "completed", config, scores=scores, ended=datetime.now(UTC)))
    return store


def keep(store: Store, config: TrialConfig, status: str = "completed", **scores: float) -> None:
    ended = {"config": config.as_dict(), "status": status, "reason": "", "scores": scores}
    store.write_bytes(_place(config), json.dumps(ended).encode())


def keep_all(store: Store) -> None:
    """Every training of two seeds: the rate is worth 2 in FID, the ratio 0.1 in accuracy."""
    for seed, luck in ((30_000, 0.0), (30_001, 1.0)):
        keep(store, LEADER.derive({"seed": seed}), fid=4 + luck, accuracy=0.8)
        keep(store, LEADER.derive({"seed": seed, "lr_d": PAPER.lr_d}), fid=6 + 1.5 * luck, accuracy=0.8)
        keep(store, LEADER.derive({"seed": seed, "synthetic_ratio": 0.5}), fid=4 + luck, accuracy=0.7 + 0.02 * luck)
        keep(store, PAPER.derive({"seed": seed}), status="diverged" if luck else "completed", fid=9.0, accuracy=0.6)


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ray_cluster", lambda: pytest.fail("a cluster was started"))


@pytest.mark.usefixtures("no_cluster")
def test_what_each_choice_was_worth(store: Store, experiment: Experiment, tmp_path: Path) -> None:
    keep_all(store)
    result = ablate(store, experiment.trainables, AblateOptions(repeats=2), cache=tmp_path)
    assert (result["trial"], result["against"], result["failed"]) == ("0001", "0000", [])
    rate, ratio, together = result["choices"]
    assert (rate["choice"], rate["ours"], rate["theirs"]) == ("lr_d", 1e-3, 2e-4)
    assert rate["worth"]["fid"]["difference"] == pytest.approx(-2.25)  # leader minus without: -2 and -2.5
    assert rate["worth"]["fid"]["low"] == pytest.approx(-2.25 - 12.706 * 0.25, abs=1e-3)
    assert rate["worth"]["accuracy"] == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "pairs": 2}
    assert ratio["worth"]["accuracy"]["difference"] == pytest.approx(0.09)
    assert (together["choice"], together["diverged"]) == (ALL, 1)
    assert json.loads(store.read_bytes(RESULT)) == result == ablation(store)
    figure = ablation_figure(result)
    assert figure is not None
    assert {"lr_d: 0.001, not 0.0002"} <= {text for trace in figure.data for text in trace.y}


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"choices": 3}',
        '{"choices": [{}]}',
        '{"choices": [{"choice": "a", "ours": 1, "theirs": 2, "worth": {"x": 1}}]}',
    ],
)
def test_a_damaged_result_is_left_out(store: Store, content: str, caplog: pytest.LogCaptureFixture) -> None:
    store.write_bytes(RESULT, content.encode())
    assert ablation(store) is None
    assert caplog.messages == [f"{store.label}/ablation.json is damaged and left out"]


def test_the_table_has_a_row_for_each_choice_and_measure(store: Store, experiment: Experiment, tmp_path: Path) -> None:
    keep_all(store)
    ablate(store, experiment.trainables, AblateOptions(repeats=2), cache=tmp_path)
    (tmp_path / TABLE).write_bytes(store.read_bytes(TABLE))
    table = pd.read_parquet(tmp_path / TABLE).set_index(["choice", "measure"])
    assert table.loc[("lr_d", "fid"), "difference"] == pytest.approx(-2.25)
    assert table.loc[("synthetic_ratio", "accuracy"), "pairs"] == 2
    assert set(table["against"]) == {"0000"}


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trial": "0009"}, "--trial: no trial '0009' was searched"),
        ({"against": "0009"}, "--against: no trial '0009' was searched"),
        ({"against": "0001"}, "trial 0001 has the configuration of trial 0001: there is nothing to take back"),
        ({"choices": ("attention",)}, "--choices: 'attention' does not differ; these do: lr_d, synthetic_ratio"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    options: dict[str, Any], says: str, store: Store, experiment: Experiment, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as told:
        ablate(store, experiment.trainables, AblateOptions(**options), cache=tmp_path)
    assert says in str(told.value)


def test_without_a_completed_trial_there_is_nothing_to_ablate(
    store: Store, experiment: Experiment, tmp_path: Path
) -> None:
    empty = Store.create(str(tmp_path), "empty", store.info)
    with pytest.raises(StoreError, match="no completed trial to ablate"):
        ablate(empty, experiment.trainables, cache=tmp_path)


@pytest.mark.usefixtures("no_cluster")
def test_choices_that_given_weights_do_not_fit_are_not_taken_back(
    store: Store, experiment: Experiment, tmp_path: Path
) -> None:
    """Trials that started from another sweep's weights have its networks."""
    wider = PAPER.derive({"architecture.width": 16})
    store.write_trial(TrialRow("0000", 0, "completed", wider, scores={"fid": 9.0, "accuracy": 0.5}))
    gan = build_gan(LEADER, Cohort.open(store.info.cohort.path).spec(), experiment.trainables)
    weights = {name: network.state_dict() for name, network in gan.networks.items()}
    store.write_bytes(START, Start("trial 0000 of other", LEADER, weights).to_bytes())
    keep_all(store)
    result = ablate(store, experiment.trainables, AblateOptions(repeats=2), cache=tmp_path)
    refused = {row["choice"]: row["refused"] for row in result["choices"]}
    assert "the generator of trial 0000 of other does not fit" in refused.pop("architecture.width")
    assert refused == {"lr_d": "", "synthetic_ratio": ""}


@pytest.mark.usefixtures("no_cluster")
def test_the_command_shows_the_table_and_writes_the_picture(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_all(store)
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "ablation.html"
    words = ["ablate", store.uri, "--repeats=2", f"--space={SPACE}:tiny", f"--out={out}"]
    assert main(words) == 0
    shown = capfd.readouterr().out
    assert "-2.2 (-5.4 to +0.9)" in shown
    assert "1 of 2 diverged" in shown
    assert "synthetic_ratio" in out.read_text("utf-8")
    assert main([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["against"] == "0000"


@pytest.mark.ray(shared=True)
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_is_missing_is_trained_and_kept(store: Store, experiment: Experiment, tmp_path: Path) -> None:
    keep_all(store)
    config = LEADER.derive({"seed": 30_000, "lr_d": PAPER.lr_d})
    store.delete(_place(config))
    store.write_bytes(_place(LEADER.derive({"seed": 30_001})), b"cut sh")
    # One group of two workers starts sooner than two groups of one.
    options = AblateOptions(repeats=2, choices=("lr_d",), workers_per_trial=2)
    with ray_cluster():
        result = ablate(store, experiment.trainables, options, cache=tmp_path / "cache")
    kept = json.loads(store.read_bytes(_place(config)))
    assert (kept["status"], kept["config"]) == ("completed", config.as_dict())
    assert {"fid", "accuracy", "accuracy_real_only"} <= set(kept["scores"])
    assert not list((tmp_path / "s" / "checkpoints").glob("*.pt")), "nobody draws from these generators again"
    (row,) = result["choices"]
    assert row["worth"]["fid"]["pairs"] == 2
    assert len(store.trials()) == 2, "the leaderboard does not hear of variants"
