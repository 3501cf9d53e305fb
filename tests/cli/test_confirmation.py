"""The table of `confirm`."""

from __future__ import annotations

from dataclasses import asdict

import torch

from gansweep.cli.confirmation import _as_table, _notes, _segmentation_table
from gansweep.contracts import ImageSet
from gansweep.scoring.arms import BASE
from gansweep.scoring.judged_arms import judge_arms
from tests.search.test_answer import NO_EVIDENCE, comparison, result, with_segmenters


def test_an_undefined_metric_is_a_dash_with_its_reason() -> None:
    test = ImageSet(torch.zeros(40, 1, 8, 8), torch.arange(40) % 2, None, tuple(map(str, range(40))))
    arm = torch.tensor([0.4, 0.6]).expand(1, 40, 2)
    runs = [{BASE: arm, "synthetic only": arm * torch.nan}] * 3
    (judged,) = judge_arms({"0000": runs}, test, 1).values()
    table = _as_table(
        {"patients": 40, "images": 40, "base": BASE, "leaders": [{"trial_id": "0000", **asdict(judged)}]}, "accuracy"
    )
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["accuracy"][0].startswith("50.0 (")
    assert (cells["accuracy"][1], cells["difference in accuracy"][1], cells["verdict"][1]) == ("-", "", "")
    assert cells["absent"][0] == ""
    assert "accuracy: its detectors give probabilities that are not finite" in cells["absent"][1]


def test_the_aims_verdict_stands_before_that_on_accuracy() -> None:
    """The answer is about the sweep's aim, so a table of verdicts on accuracy alone would contradict it."""
    found = result(NO_EVIDENCE, patients=8, images=32, base=BASE)
    arm = "real + 1 synthetic"
    found["leaders"][0]["arms"] = {arm: {"accuracy": [0.7, 0.5, 0.9], "auroc": [0.8, 0.6, 0.95]}}
    found["leaders"][0]["absent"] = {arm: {}}
    found["leaders"][0]["comparisons"][arm]["auroc"] = comparison(0.08, 0.02, 0.14, 0.01, "helps")
    found["leaders"][0]["over_rival"] = {arm: {"auroc": comparison(0.05, 0.01, 0.09, 0.02, "helps")}}
    found["leaders"][0]["best_rival"] = {"accuracy": "real + MixUp", "auroc": "real + CutMix"}
    cells = {str(column.header): column.cells for column in _as_table(found, "auroc").columns}
    assert list(cells) == [
        "trial",
        "arm",
        "auroc",
        "accuracy",
        "sensitivity",
        "specificity",
        "difference in auroc",
        "over the best rival in auroc",
        "verdict on auroc",
        "difference in accuracy",
        "verdict on accuracy",
    ]
    assert (cells["difference in auroc"], cells["verdict on auroc"]) == (["+8.0 (+2.0 to +14.0)"], ["helps"])
    assert (cells["difference in accuracy"], cells["verdict on accuracy"]) == (
        ["+12.5 (-16.5 to +41.5)"],
        ["no evidence"],
    )
    rivals = "best rival of trial 0001, by auroc: real + CutMix\nbest rival of trial 0001, by accuracy: real + MixUp"
    assert list(filter(None, _notes(found, "auroc"))) == [rivals]
    assert list(filter(None, _notes(found, "accuracy"))) == ["best rival of trial 0001: real + MixUp"]


def test_segmenters_have_a_second_table() -> None:
    found = with_segmenters(best_rival={"dice": "real + CutMix"}) | {"patients": 8, "images": 32, "base": BASE}
    table = _segmentation_table(found)
    assert table is not None
    assert table.title.startswith("Segmenters: 8 test patients, 20 images with a lesion; percent with 95 % intervals")
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["arm"] == ["real", "real + 0.25 synthetic", "real + 1 synthetic", "synthetic only"]
    assert cells["dice"][0] == "70.0 (60.0 to 80.0)"
    assert cells["difference in dice"] == ["", "+0.4 (-2.0 to +2.8)", "+1.2 (-1.1 to +3.5)", "-20.0 (-30.0 to -10.0)"]
    assert cells["verdict"] == ["", "no evidence", "no evidence", "harms"]
    assert list(filter(None, _notes(found, "accuracy"))) == ["best rival of trial 0001, by dice: real + CutMix"]
    leader = found["leaders"][0]
    del leader["segmentation"]
    assert _segmentation_table(found) is None
    assert list(filter(None, _notes(found, "accuracy"))) == []
    leader["no_segmentation"] = "scoring.segmenter_steps is 0"
    assert list(filter(None, _notes(found, "accuracy"))) == [
        "no verdict on dice for trial 0001: scoring.segmenter_steps is 0"
    ]
