"""The content of `confirm.json`: the arms of each leader, compared on the test patients."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gansweep.scoring.arms import BASE
from gansweep.scoring.judged_arms import judge_arms, judge_mask_arms
from gansweep.scoring.networks.segmentation import with_lesion
from gansweep.scoring.statistics.curves import arm_curves
from gansweep.search.confirmation_file import POOLED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import DataView, TrialConfig
    from gansweep.contracts import ImageSet
    from gansweep.options import ConfirmSettings
    from gansweep.search.confirmed_arms import TrainedArms
    from gansweep.store.sweep_info import TestOpening

__all__ = ["result_of"]


def result_of(
    cohort: Cohort,
    leaders: Mapping[str, TrialConfig],
    arms: Mapping[str, list[TrainedArms]],
    settings: ConfirmSettings,
    opening: TestOpening,
) -> dict[str, Any]:
    """Compares the arms of all leaders and returns the content of `confirm.json`, without the answer.

    Args:
        cohort: the sweep's cohort, whose test patients are open.
        leaders: configurations by trial.
        arms: results of each training by leader, or by the names of the leaders whose samples were pooled.
        settings: settings of the confirmation.
        opening: record of the opening of the test patients.
    """
    test = cohort.load_test()
    positive = cohort.info.classes.index(cohort.info.positive_class)
    detectors = {name: [training.detectors for training in trainings] for name, trainings in arms.items()}
    judged = judge_arms(detectors, test, positive, seed=settings.seed)
    segmentation = _segmentation(cohort, leaders, arms, settings.seed)
    return {
        "opened": opening.opened.isoformat(),
        "reason": opening.reason,
        "split": "test",
        "images": len(test),
        "patients": len(set(test.patients)),
        "settings": settings.model_dump(mode="json"),
        "base": BASE,
        "leaders": [
            {
                "trial_id": name,
                "config": leaders[name].as_dict() if name in leaders else {},
                **asdict(found),
                "curves": arm_curves(detectors[name], test, positive),
                **segmentation[name],
            }
            for name, found in judged.items()
        ],
    }


def _segmentation(
    cohort: Cohort, leaders: Mapping[str, TrialConfig], arms: Mapping[str, list[TrainedArms]], seed: int
) -> dict[str, dict[str, Any]]:
    """Returns what `confirm.json` says of segmenters, by leader: nothing if its generators draw no masks.

    Otherwise it is either `segmentation`, the judged arms with the numbers of images and patients with a lesion, or
    `no_segmentation`, the reason why there are none.
    """
    views: dict[DataView, ImageSet] = {}
    tests: dict[str, ImageSet] = {}
    for name, trainings in arms.items():
        if trainings[0].segmenters:
            view = leaders[name.split(POOLED)[0]].data
            if view not in views:
                views[view] = cohort.load_test(view)
            tests[name] = views[view]
    kinds = {name: [training.segmenters for training in arms[name]] for name in tests}
    judged = judge_mask_arms(kinds, tests, seed=seed)
    found: dict[str, dict[str, Any]] = {}
    for name, trainings in arms.items():
        reason = trainings[0].no_segmenters
        found[name] = {"no_segmentation": reason} if reason else {}
        if name in judged:
            marked = with_lesion(tests[name])
            patients = {tests[name].patients[row] for row in marked.nonzero().flatten().tolist()}
            numbers = {"images": int(marked.sum()), "patients": len(patients)}
            found[name] = {"segmentation": {**numbers, **asdict(judged[name])}}
    return found
