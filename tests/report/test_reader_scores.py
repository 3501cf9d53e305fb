"""Agreement between readers, against worked examples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gansweep.report.reader_scores import fleiss_kappa, score_study
from gansweep.report.reader_study import Item, Key


def written(tmp_path, kinds, *readers):
    """The key of a study of one class, and a file for each reader."""
    key = Key(study="s", items=tuple(Item(kind=kind, label="fahr") for kind in kinds), seed=0)
    (tmp_path / "key.json").write_text(key.model_dump_json())
    files = []
    for number, answers in enumerate(readers):
        path = tmp_path / f"{number}.json"
        given = {place: answer for place, answer in enumerate(answers, start=1) if answer}
        path.write_text(json.dumps({"study": "s", "reader": f"reader {number}", "answers": given}))
        files.append(path)
    return score_study(tmp_path / "key.json", files)


def test_kappa_of_two_readers_is_that_of_the_worked_example(tmp_path):
    # 50 images: both say synthetic of 20, the first alone of 5, the second alone of 10, neither of 15. They agree on
    # 35 of 50 (0.7), and by chance on 0.5 * 0.6 + 0.5 * 0.4 = 0.5: kappa is 0.2 / 0.5.
    both = [("synthetic", "synthetic")] * 20 + [("synthetic", "real")] * 5
    both += [("real", "synthetic")] * 10 + [("real", "real")] * 15
    found = written(tmp_path, ["real", "synthetic"] * 25, *zip(*both, strict=True))
    assert found.agreement is not None
    assert found.agreement.kind == "Cohen's kappa"
    assert found.agreement.value == pytest.approx(0.4)
    assert found.agreement.low < 0.4 < found.agreement.high
    assert found.agreement.n == 50


def test_kappa_of_many_readers_is_that_of_the_published_table():
    # 14 readers put 10 subjects into 5 categories; kappa is 0.210 (a common textbook table).
    counts = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ]
    )  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_readers_who_agree_fully_and_readers_who_never_differ_from_one_answer(tmp_path):
    kinds = ["real", "synthetic"] * 10
    assert written(tmp_path, kinds, kinds, kinds, kinds).agreement.value == pytest.approx(1.0)
    always = ["synthetic"] * 20
    found = written(tmp_path, kinds, always, always)
    assert found.agreement.value is None
    assert found.agreement.reason == "all readers gave one answer to all images"
    assert [reader.accuracy.value for reader in found.readers] == [0.5, 0.5]
    assert (found.readers[0].real.right, found.readers[0].synthetic.right) == (0, 10)


def test_images_without_an_answer_are_left_out_and_counted(tmp_path):
    found = written(tmp_path, ["real"] * 6, ["real"] * 4 + [None, None], ["real"] * 6)
    assert found.readers[0].unanswered == 2
    assert (found.readers[0].accuracy.right, found.readers[0].accuracy.n) == (4, 4)
    assert found.agreement.n == 4


def test_one_reader_agrees_with_nobody(tmp_path):
    assert written(tmp_path, ["real", "synthetic"], ["real", "real"]).agreement is None


def test_guessing_is_told_from_knowledge_about_as_often_as_the_level_says(tmp_path):
    kinds = ["real", "synthetic"] * 30
    random = np.random.default_rng(1)
    guesses = [[("real", "synthetic")[int(bit)] for bit in random.integers(0, 2, 60)] for _ in range(200)]
    found = written(tmp_path, kinds, *guesses)
    wrong = sum(reader.verdict != "no evidence against guessing" for reader in found.readers)
    assert wrong <= 14  # of 200 at a level of 5 %, exact and so below it
    assert abs(np.mean([reader.accuracy.value for reader in found.readers]) - 0.5) < 0.02
