"""What a user sees of the command line itself: help, exit status, one line for a mistake."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gansweep.cli import app as module
from gansweep.cli import main
from gansweep.errors import ConfigError

ROOT = Path(__file__).parents[2]
VERBS = [function.__name__ for _, function, _ in module._COMMANDS]


def gansweep(*words, **options):
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "gansweep.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)


def mistake(capfd, *words):
    """The one line that `words` are answered with, checked for everything every mistake has in common."""
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    return err


def test_every_verb_of_the_design_is_there():
    assert set(VERBS) >= {
        "demo", "phantom", "ingest", "sweep", "submit", "status", "leaderboard", "report", "dashboard", "export",
        "train", "generate", "score", "trainables", "doctor",
    }  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_json(verb, capfd):
    assert main([verb, "--help"]) == 0
    shown = capfd.readouterr().out
    assert f"Example: gansweep {verb}" in shown
    assert "--json" in shown


@pytest.mark.parametrize("function", [function for _, function, _ in module._COMMANDS], ids=VERBS)
def test_examples_parse(function):
    """Every example in the help is a command line that the verb accepts."""
    example = next(example for _, verb, example in module._COMMANDS if verb is function)
    words = example.split()
    assert words[:2] == ["gansweep", function.__name__]
    group = module.typer.main.get_command(module.app)
    context = group.make_context("gansweep", words[1:])
    _, command, rest = group.resolve_command(context, context._protected_args + context.args)
    command.make_context(words[1], rest, parent=context)


def test_help_is_quick_and_loads_nothing_heavy():
    heavy = ("torch", "ray", "monai", "pandas", "optuna", "numpy")
    code = f"import sys, gansweep.cli; print([name for name in {heavy} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.strip() == "[]"
    assert time.perf_counter() - began < 3.0  # 0.2 s on an idle machine


def test_version(capfd):
    from gansweep import __version__

    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"gansweep {__version__}\n"


def test_no_words_show_the_help(capfd):
    assert main([]) == 0
    assert "Usage" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["swep"], "No such command 'swep'"),
        (["sweep"], "Missing argument 'SPACE'"),
        (["sweep", "smoke"], "Missing option '--cohort'"),
        (["phantom", "x", "--patients", "many"], "should be a valid integer"),
        (["sweep", "smoke", "--cohort=c", "--storage=s", "--name=n", "--trials=0"], "--trials"),
        (["sweep", "smoke", "--cohort=c", "--storage=s", "--name=n", "--trials=1", "--sampler=x"], "--sampler"),
        (["generate", "best", "--n=1", "--out=o", "--format=bmp"], "--format"),
        (["ingest", "a", "b", "--colour"], "No such option"),
    ],
)
def test_words_that_are_no_command(words, says, capfd):
    assert says in mistake(capfd, *words)


def test_an_error_of_the_users_is_one_line_and_two(capfd, monkeypatch):
    def refuse(*_args, **_options):
        raise ConfigError("lr_d = -1.0: input should be greater than 0", where="trial configuration")

    monkeypatch.setattr("gansweep.cohort.phantom.scans.write_phantom", refuse)
    assert mistake(capfd, "phantom", "x") == "error: trial configuration: lr_d = -1.0: input should be greater than 0\n"


def test_a_fault_of_ours_is_one_line_and_the_traceback_is_kept(capfd, monkeypatch):
    def break_down(*_args, **_options):
        raise ZeroDivisionError("in the middle of it")

    monkeypatch.setattr("gansweep.cohort.phantom.scans.write_phantom", break_down)
    monkeypatch.delenv("GANSWEEP_DEBUG", raising=False)
    assert main(["phantom", "x"]) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    log = Path(err.partition("traceback in ")[2].partition(";")[0])
    assert "in break_down" in log.read_text()
    log.unlink()

    monkeypatch.setenv("GANSWEEP_DEBUG", "1")
    assert main(["phantom", "x"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_what_the_file_system_refuses_is_no_fault_of_ours(capfd, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied", "/readonly/x")

    monkeypatch.setattr("gansweep.cohort.phantom.scans.write_phantom", refuse)
    assert mistake(capfd, "phantom", "x") == "error: /readonly/x: Permission denied\n"


def test_ctrl_c(capfd, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("gansweep.cohort.phantom.scans.write_phantom", interrupt)
    assert main(["phantom", "x"]) == 130
    assert capfd.readouterr().err == "interrupted\n"


def test_as_a_process_json_is_the_whole_of_stdout(tmp_path):
    ran = gansweep("phantom", str(tmp_path / "scans"), "--patients=4", "--slices=1", "--size=64", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["images"] == 4
    assert "Traceback" not in ran.stderr


def test_the_next_command_can_be_pasted(tmp_path, capfd):
    scans = tmp_path / "my scans [1]"
    assert main(["phantom", str(scans), "--patients=4", "--slices=1", "--size=64"]) == 0
    assert shlex.split(capfd.readouterr().out.partition("next: ")[2]) == ["gansweep", "ingest", str(scans), "COHORT"]


def test_as_a_process_a_mistake_exits_with_two(tmp_path):
    ran = gansweep("ingest", str(tmp_path / "nowhere"), str(tmp_path / "cohort"))
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "nowhere" in ran.stderr


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m gansweep.cli --help | head -1"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=environment)
    assert ran.stderr == ""


@pytest.mark.parametrize(
    "words", ["trainables", "trainables --json", "settings", "--help", "sweep --help", "--version"]
)
def test_a_reader_that_has_seen_enough_is_no_error(words):
    command = f"set -o pipefail; {sys.executable} -m gansweep.cli {words} | true"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("words", [["cohort", "x" * 300], ["status", "x" * 300], ["trainables", "x" * 300 + ":f"]])
def test_a_name_that_is_too_long_is_told_in_one_line(words, capfd):
    assert main(words) == 2
    line = capfd.readouterr().err
    assert re.fullmatch(r"error: .*x{300}.*File name too long.*\n", line)
