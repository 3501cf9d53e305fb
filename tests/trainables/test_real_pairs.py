"""Image-to-image families on real CT/MR pairs, against what takes no model, on a patient they have not seen."""

from __future__ import annotations

import os

import pytest
import torch

from benchmarks.translation import ARMS, answered, paired_cohort

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.real_data,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("GANSWEEP_REAL_DATA" not in os.environ, reason="GANSWEEP_REAL_DATA is not set"),
]

TRANSLATORS = ("cyclegan", "discogan", "dc2anet", "auto_context", "srgan")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    torch.set_num_threads(1)
    return paired_cohort(tmp_path_factory.mktemp("pairs") / "cohort", 48)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.name in TRANSLATORS], ids=lambda arm: arm.name)
def test_a_translator_beats_its_baseline_on_other_patients(arm, cohort):
    """Its rival is the source itself (for super-resolution bicubic interpolation)."""
    found = answered(arm, cohort, cohort.load("val"), seed=0, effort=1.0)
    assert found["psnr"] > found["psnr_baseline"], found
    assert found["ssim"] > found["ssim_baseline"], found
