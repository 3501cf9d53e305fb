"""Values as users write them on the command line."""

import re

import pytest
import typer

import gansweep
from gansweep.cli import main
from gansweep.cli.app import app
from gansweep.cli.dry_run import _duration
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import parse_numbers, parse_settings
from gansweep.cohort.ingest.settings import IngestSettings
from gansweep.errors import ConfigError
from gansweep.options import AblateOptions, ConfirmOptions, RepeatOptions, ReplayOptions, SweepOptions


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


def test_numbers():
    assert parse_numbers("0.6,0.2, .2", "--split", "TRAIN,VAL,TEST") == (0.6, 0.2, 0.2)
    with pytest.raises(ConfigError, match=r"--split: 'half' is not TRAIN,VAL,TEST"):
        parse_numbers("half", "--split", "TRAIN,VAL,TEST")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--ratios=0.5,x"], "error: --ratios: '0.5,x' is not R,R,...; give numbers with commas: 0.6,0.2,0.2"),
        (["--ratios=0.5,-1"], "each ratio must be above 0 and at most 8"),
        (["--ratios=0"], "each ratio must be above 0 and at most 8"),
        (["--ratios=nan"], "confirm: ratios.0 = nan"),
    ],
)
def test_a_wrong_number_is_told_of_its_own_option(words, line, capfd):
    assert main(["confirm", "nowhere", *words]) == 2
    assert line in capfd.readouterr().err


def test_an_option_that_is_missing_is_named_and_what_was_given_is_not_repeated():
    with pytest.raises(ConfigError) as told:
        gansweep.sweep("smoke", cohort="c")
    assert str(told.value) == "sweep: missing key 'storage'"


@pytest.mark.parametrize(
    ("command", "order"),
    [
        ("repeat", ["--leaders", "--repeats", "--seed", "--cohort", "--placement", "--checkpoint-minutes", "--space"]),
        ("sweep", ["--cohort", "--storage", "--name", "--set", "--wait-for-storage", "--placement", "--dry-run"]),
        ("train", ["--workers", "--allow-memorised", "--author", "--checkpoint-minutes", "--set"]),
    ],
)
def test_the_help_lists_own_options_before_those_that_commands_share(command, order, capsys):
    assert main([command, "--help"]) == 0
    listed = re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert [option for option in listed if option in order] == order


@pytest.mark.parametrize(
    ("model", "words", "field", "value"),
    [
        (SweepOptions, ["--constraint=a<=1", "--constraint=fid<=9,b>=1"], "constraints", ("a<=1", "fid<=9", "b>=1")),
        (SweepOptions, ["--warm-start=/a,/b", "--warm-start=/c"], "warm_start", ("/a", "/b", "/c")),
        (SweepOptions, ["--try=lr_d=1,width=8", "--try=lr_d=2"], "tries", ({"lr_d": 1, "width": 8}, {"lr_d": 2})),
        (RepeatOptions, ["--trial=0001", "--trial=0002,0003"], "trial", ("0001", "0002", "0003")),
        (ReplayOptions, ["--samplers=random", "--samplers=tpe"], "samplers", ("random", "tpe")),
        (ReplayOptions, ["--schedulers=none", "--schedulers=asha"], "schedulers", ("none", "asha")),
        (AblateOptions, ["--choices=loss", "--choices=attention"], "choices", ("loss", "attention")),
        (ConfirmOptions, ["--ratios=0.5", "--ratios=1,2"], "ratios", (0.5, 1.0, 2.0)),
        (ConfirmOptions, ["--rivals=mixup", "--rivals=paste"], "rivals", ("mixup", "paste")),
        (IngestSettings, ["--classes=a", "--classes=b,c"], "classes", ("a", "b", "c")),
    ],
)  # fmt: skip
def test_lists_that_are_given_several_times_are_joined(model, words, field, value):
    got = []

    def command(options):
        got.append(options)

    command.__annotations__ = {"options": model}
    alone = typer.Typer()
    alone.command()(with_model_options(command))
    required = [] if model is not SweepOptions else ["--cohort=c", "--storage=s", "--name=n", "--trials=1"]
    alone([*required, *words], standalone_mode=False)
    assert getattr(got[0], field) == value


def test_every_list_of_a_command_is_joined():
    """A scalar that is given twice has its last value, as in other command lines. A list would lose values."""
    lists = {
        f"{command.name} {option.opts[0]}"
        for command in typer.main.get_command(app).commands.values()
        for option in command.params
        if option.param_type_name == "option" and "," in (option.metavar or "") and not option.multiple
    }
    assert lists == {"ingest --window"}  # level and width are one window


def test_costs_of_a_dry_run_have_no_exponent():
    assert [_duration(seconds) for seconds in (30, 3600, 9000, 44_444_444)] == ["30 s", "60 min", "2.5 h", "12346 h"]
