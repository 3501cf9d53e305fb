"""The configuration file of an export: what is read, refused and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gansweep.config import ScoringSettings, TrialConfig
from gansweep.errors import ConfigError
from gansweep.export.config_file import compared, config_yaml, digest_of, read_config, read_plan

if TYPE_CHECKING:
    from pathlib import Path


def test_a_configuration_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text, said in [
        (config_yaml(TrialConfig(), []).replace("lr_d", "lr_x"), "unknown key 'lr_x'"),
        (config_yaml(TrialConfig(n_critic=7), []).replace("n_critic: 7", "n_critic: 0"), "n_critic = 0"),
        ("- a\n- list", "not a trial configuration"),
        ("a: [", "not YAML"),
        ("[" * 5000, "not YAML"),
        (f"lr_d: {'9' * 5000}", "not YAML"),
        ("lr_d: 0.001\nlr_d: 0.002", "'lr_d' is given twice"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_config(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "none.yaml")


def test_a_plan_keeps_its_scoring_and_takes_changes(exported: Path, tmp_path: Path) -> None:
    plan = read_plan(exported / "config.yaml")
    changed = plan.derive({"lr_d": 1e-5, "scoring.samples": 99})
    assert (changed.config.lr_d, changed.scoring.samples) == (1e-5, 99)
    assert changed.scoring.encoder_steps == plan.scoring.encoder_steps
    assert plan.origin.config == digest_of(plan.config, plan.scoring)
    assert plan.origin.config != digest_of(changed.config, changed.scoring)
    # An older export's file has the configuration alone.
    (tmp_path / "old.yaml").write_text(config_yaml(TrialConfig(), []))
    old = read_plan(tmp_path / "old.yaml")
    assert (old.config, old.scoring, old.origin) == (TrialConfig(), None, None)
    (tmp_path / "wrong.yaml").write_text(config_yaml(TrialConfig(), [], ScoringSettings()).replace("samples", "sample"))
    with pytest.raises(ConfigError, match=r"unknown key 'scoring\.sample'"):
        read_plan(tmp_path / "wrong.yaml")


def test_a_comparison_with_the_trial_names_what_differs(exported: Path) -> None:
    origin = read_plan(exported / "config.yaml").origin
    assert origin is not None
    assert compared(origin, origin.scores) == f"all {len(origin.scores)} scores of trial 0001 were repeated exactly"
    told = compared(origin, {**origin.scores, "fid": 21.5})
    assert told == f"1 of {len(origin.scores)} scores differ from trial 0001: fid 20 there, 21.5 here"
    assert compared(origin, {}) == "no score to compare with trial 0001"
