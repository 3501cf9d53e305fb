"""Numbers in YAML are read as users mean them."""

import math
from pathlib import Path

import pytest
import yaml

from gansweep.errors import ConfigError
from gansweep.export.config_file import read_config
from gansweep.search.sweep_file import sweep_request
from gansweep.search.yaml_values import load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("0", 0), ("-3", -3), ("+12", 12)]
    + [("2e-4", 2e-4), ("1E3", 1000.0), ("12e03", 12000.0), ("1.5", 1.5), (".5e-3", 5e-4), ("3.", 3.0)]
    + [(".inf", math.inf), ("-.inf", -math.inf)]
    + [(text, text) for text in ("010", "1:30", "190:20:30.15", "0x10", "0b11", "0o17", "1_000", ".", "+")],
)
def test_only_decimal_numbers_are_numbers(text: str, value: object) -> None:
    found = load_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_leading_zero_is_no_octal_number(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("space: smoke\ncohort: c\nstorage: s\nname: n\ntrials: 010\n")
    assert sweep_request(str(file), {}, where="sweep").options.trials == 10
    config = tmp_path / "config.yaml"
    config.write_text("iterations: 010\n")
    assert read_config(config).iterations == 10


def test_what_is_no_decimal_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("iterations: 1:30\n")
    with pytest.raises(ConfigError, match="iterations = '1:30': input should be a valid integer"):
        read_config(file)


@pytest.mark.parametrize("text", ["&a\nspace: demo\nset: *a\n", "space: demo\ntry: &a [*a]\n"])
def test_what_contains_itself_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="recursive"):
        load_yaml(text)
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"sweep.yaml: not YAML \(found unconstructable recursive node, line "):
        sweep_request(str(file), {}, where="sweep")


def test_an_alias_to_a_finished_value_is_read() -> None:
    assert load_yaml("x: &a {b: 1}\ny: *a\nz: {<<: *a, c: 2}") == {"x": {"b": 1}, "y": {"b": 1}, "z": {"b": 1, "c": 2}}
