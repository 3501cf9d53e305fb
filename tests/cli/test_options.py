"""Values as users write them on the command line."""

import pytest

from gansweep.cli.options import parse_fractions, parse_settings
from gansweep.errors import ConfigError


def test_settings_are_yaml_values_under_dotted_keys():
    pairs = ["lr_d=2e-4", "lr_g=1E3", "batch_size=16", "penalty.kind=r1", "penalty.one_sided=true", "data.size=null"]
    assert parse_settings(pairs) == {
        "lr_d": 2e-4,
        "lr_g": 1e3,
        "batch_size": 16,
        "penalty.kind": "r1",
        "penalty.one_sided": True,
        "data.size": None,
    }


def test_a_value_may_hold_equals_signs_and_lists():
    assert parse_settings(["scoring.features=/models/a=b.pt", "augmentation.policy=[flip, cutout]"]) == {
        "scoring.features": "/models/a=b.pt",
        "augmentation.policy": ["flip", "cutout"],
    }


def test_no_settings():
    assert parse_settings(None) == {}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["lr_d"], "--set: 'lr_d' is not KEY=VALUE"),
        (["=3"], "is not KEY=VALUE"),
        (["lr_d=1", "lr_d=2"], "'lr_d' is given twice"),
        (["a=[1"], "is not YAML"),
    ],
)
def test_settings_that_cannot_be_read(pairs, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(pairs)


def test_fractions():
    assert parse_fractions("0.6,0.2, .2") == (0.6, 0.2, 0.2)
    with pytest.raises(ConfigError, match=r"--split: 'half' is not TRAIN,VAL,TEST"):
        parse_fractions("half")
