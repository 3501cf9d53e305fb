"""The model card of an export: the answer first, numbers with their n, and who to ask."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from gansweep.export.best import export_best
from gansweep.export.card import model_card
from gansweep.export.evidence import Evidence
from gansweep.options import Attribution
from gansweep.scoring.metrics.registry import METRICS
from gansweep.search.confirmation_file import RESULT
from gansweep.search.confirmed_answer import confirmed
from gansweep.store.store import Store
from gansweep.training.record import read_record
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Sweep


CONFIRMED = {
    "reason": "",
    "leaders": [
        {
            "trial_id": "0001",
            "config": {"family": "dcgan"},
            "arms": {},
            "absent": {},
            "comparisons": {
                "real + 0.5 synthetic": {
                    "accuracy": {
                        "difference": -0.1,
                        "low": -0.15,
                        "high": -0.05,
                        "p": 0.012,
                        "verdict": "harms",
                        "patients": 40,
                        "trainings": 3,
                        "detectable": 0.07,
                    }
                }
            },
        }
    ],
}
"""What `gansweep confirm` leaves, as far as the answer needs it."""


@pytest.mark.usefixtures("without_program")
def test_the_answer_is_the_first_thing_of_card_and_evidence(sweep: Sweep, exported: Path, tmp_path: Path) -> None:
    before = "Not known yet whether synthetic images help: on 2 validation patients adding them changed accuracy by"
    assert (exported / "MODEL_CARD.md").read_text().splitlines()[2].startswith(f"**{before}")
    evidence = json.loads((exported / "evidence.json").read_text())
    assert next(iter(evidence)) == "answer"
    assert evidence["answer"].startswith(before)

    assert sweep.store.local is not None
    store = Store.open(str(shutil.copytree(sweep.store.local, tmp_path / "tiny")))
    store.write_bytes(RESULT, json.dumps(CONFIRMED).encode())
    for trial_id, said in (
        (None, ""),
        ("0002", "This is about trial 0001, another configuration than this generator's."),
    ):
        out = export_best(store, tmp_path / str(trial_id), TRAINABLES, trial_id=trial_id, cache=sweep.cache)
        evidence = json.loads((out / "evidence.json").read_text())
        assert evidence["answer"] == confirmed(CONFIRMED).text
        assert evidence["answer_applies"] is not bool(said)
        (line,) = [line for line in (out / "MODEL_CARD.md").read_text().splitlines() if evidence["answer"] in line]
        assert line == f"**{evidence['answer']}** {said}".rstrip()


def test_the_card_states_numbers_with_n_the_floor_and_the_limits(exported: Path) -> None:
    card = (exported / "MODEL_CARD.md").read_text()
    for said in (
        "Not for diagnosis",
        "| fid_floor | 4 |",
        "validation patients 2",
        "selected from 3 trials",
        "not looked",
    ):
        assert said in card


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.trial])
def test_the_card_explains_each_score_of_a_trial(exported: Path, name: str) -> None:
    record, evidence = read_record(exported), Evidence.model_validate_json((exported / "evidence.json").read_text())
    card = model_card(record, evidence.model_copy(update={"scores": {name: 0.25}}), record.classes)
    [row] = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
    assert row.split("|")[4].strip()


def test_the_card_explains_the_segmenters_overlap(exported: Path) -> None:
    record, evidence = read_record(exported), Evidence.model_validate_json((exported / "evidence.json").read_text())
    scores = {"dice_real_only": 0.5, "dice": 0.6, "fid": 20.0, "accuracy_real_only": 0.7}
    card = model_card(record, evidence.model_copy(update={"scores": scores}), record.classes)
    large = model_card(record, evidence.model_copy(update={"scores": {"fid": 12345.6}}), record.classes)
    assert "| fid | 12346 | none |" in large
    assert "| dice | 0.6 | none | overlap with the lesion masks (at most 1) of a segmenter trained on real and" in card
    assert "| dice_real_only | 0.5 | none | dice of the same segmenter trained on real images alone |" in card
    assert "| accuracy_real_only | 0.7 | none | accuracy of the same detector trained on real images alone |" in card
    assert card.index("| dice |") < card.index("| dice_real_only |")


@pytest.mark.usefixtures("without_program")
def test_author_licence_and_contact_reach_card_and_bundle(sweep: Sweep, tmp_path: Path) -> None:
    credited = Attribution(author="A. Radiologist", licence="CC BY-NC 4.0", contact="gan@example.org")
    out = export_best(sweep.store, tmp_path / "out", TRAINABLES, cache=sweep.cache, attribution=credited)
    card = (out / "MODEL_CARD.md").read_text()
    assert "- developed by: A. Radiologist\n- licence: CC BY-NC 4.0\n" in card
    assert card.endswith("## Model card contact\n\ngan@example.org\n")
    metadata = json.loads((out / "bundle" / "configs" / "metadata.json").read_text())
    assert (metadata["authors"], metadata["copyright"], metadata["contact"]) == (
        "A. Radiologist",
        "CC BY-NC 4.0",
        "gan@example.org",
    )


def test_the_card_has_the_order_of_the_usual_template(exported: Path) -> None:
    headings = [line for line in (exported / "MODEL_CARD.md").read_text().splitlines() if line.startswith("## ")]
    assert headings == [
        "## Model details",
        "## Uses",
        "## Bias, risks and limitations",
        "## How to get started",
        "## Training details",
        "## Evaluation",
        "## Model card contact",
    ]
