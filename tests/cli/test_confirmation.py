"""The table of `confirm`."""

from __future__ import annotations

from dataclasses import asdict

import torch

from gansweep.cli.confirmation import _as_table
from gansweep.contracts import ImageSet
from gansweep.scoring.arms import BASE
from gansweep.scoring.judged_arms import judge_arms


def test_an_undefined_metric_is_a_dash_with_its_reason() -> None:
    test = ImageSet(torch.zeros(40, 1, 8, 8), torch.arange(40) % 2, None, tuple(map(str, range(40))))
    arm = torch.tensor([0.4, 0.6]).expand(1, 40, 2)
    runs = [{BASE: arm, "synthetic only": arm * torch.nan}] * 3
    (judged,) = judge_arms({"0000": runs}, test, 1).values()
    table = _as_table({"patients": 40, "images": 40, "base": BASE, "leaders": [{"trial_id": "0000", **asdict(judged)}]})
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["accuracy"][0].startswith("50.0 (")
    assert (cells["accuracy"][1], cells["difference in accuracy"][1], cells["verdict"][1]) == ("-", "", "")
    assert cells["absent"][0] == ""
    assert "accuracy: its detectors give probabilities that are not finite" in cells["absent"][1]
