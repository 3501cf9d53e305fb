"""Texts of errors: one line each, safe to print."""

from datetime import UTC, datetime

import pytest

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.errors import ConfigError, StoreError, close_to, one_line
from gansweep.options import SweepOptions
from gansweep.store.schema import TrialRow


def test_a_text_is_folded_cut_and_freed_of_control_characters() -> None:
    assert one_line("  a\n\tb   c ") == "a b c"
    assert one_line("abcdef", 3) == "abc"
    assert one_line(ValueError("\x1b[31mred\x1b[0m \x07bell\x9b2J")) == "[31mred[0m bell2J"
    assert one_line("größer als 5 µm") == "größer als 5 µm"


def test_neither_an_error_nor_a_reason_of_a_trial_moves_the_cursor() -> None:
    assert str(StoreError("\x1b[2Jgone", where="s\x1b]0;title\x07")) == "s]0;title: [2Jgone"
    row = TrialRow("0000", 0, "running", TrialConfig(), started=datetime.now(UTC))
    assert row.finished("failed", reason="\x1b[2J\ngone").reason == "[2J gone"


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("key", ["lr_d", "n_critic", "penalty.lambda"])
def test_true_is_no_number(key: str, value: bool) -> None:
    with pytest.raises(ConfigError, match=rf"{key.split('.')[-1]} = {str(value).lower()}: input should be a number"):
        TrialConfig().derive({key: value})


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"inner": {"sampels": 3}}, "f: unknown key 'inner.sampels'; did you mean samples? known keys: samples, size"),
        ({"maybe": {"sampels": 3}}, "f: unknown key 'maybe.sampels'; did you mean samples? known keys: samples, size"),
        ({"iner": {}}, "f: unknown key 'iner'; did you mean inner? known keys: inner, maybe"),
        ({"inner": 3}, "f: inner = 3: input should be keys with values"),
        ({"maybe": 3}, "f: maybe = 3: input should be keys with values"),
    ],
)
def test_a_wrong_key_is_told_with_the_keys_beside_it(values, line):
    class Inner(Frozen):
        samples: int = 1
        size: int = 1

    class Outer(Frozen):
        inner: Inner = Inner()
        maybe: Inner | None = None

    with pytest.raises(ConfigError) as told:
        validated(Outer, values, where="f")
    assert str(told.value) == line


def test_the_closest_name_is_found_in_capitals_too() -> None:
    assert close_to("FID", ["accuracy", "fid", "kid"]) == "did you mean fid? "
    assert close_to("dragan", ["DRAGAN"]) == "did you mean DRAGAN? "
    assert close_to("xyz", ["fid"]) == ""


def test_an_unknown_key_is_told_before_the_key_that_it_should_have_been() -> None:
    with pytest.raises(ConfigError, match="sweep: unknown key 'trails'; did you mean trials"):
        validated(SweepOptions, {"trails": 3}, where="sweep")
    with pytest.raises(ConfigError, match="sweep: missing key 'trials'"):
        validated(SweepOptions, {"cohort": "c", "storage": "s", "name": "n"}, where="sweep")
