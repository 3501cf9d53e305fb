"""What every command prints at 80 and 120 columns: no number, option or name is cut."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import optuna
import pytest

from gansweep.cli import app as module
from gansweep.cli import main
from gansweep.cli.confirmation import _as_table
from gansweep.cli.console import below, emit
from gansweep.report.fitting import Column, FittingTable, chosen
from gansweep.report.status import sweep_status
from gansweep.scoring.metrics.formatting import plain, score_text
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from tests.report.example_sweep import BEGAN, make_info, run_trial
from tests.search.test_answer import NO_EVIDENCE, SENTENCE, result

VERBS = [function.__name__ for _, function, _ in module._COMMANDS]
WIDTHS = [80, 120]
PRINTED = [
    ("status",),
    ("trainables",),
    ("trainables", "fahr_ct"),
    ("trainables", "all_families"),
    ("settings",),
    ("settings", "--family=stylegan2"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep whose first trial has a FID of four digits, with repeats, a running trial and a long reason."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = Store.create(str(tmp_path_factory.mktemp("storage")), "fahr", make_info())
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for _ in range(6):
        run_trial(store, study)
    config = store.config("0000")
    scores = {"fid": 3131.4159, "accuracy": 0.7188, "accuracy_difference": 0.125, "kid": 0.00001234}
    for seed in (1, 2, 3):
        row = TrialRow(f"0000-{20000 + seed}", 0, "completed", config.derive({"seed": seed}), scores=scores)
        store.write_trial(TrialRow(**{**vars(row), "repeat_of": "0000", "started": BEGAN, "seconds": 60.0}))
    store.write_trial(TrialRow("0006", 0, "running", config.derive({"lr_d": 0.00123}), started=BEGAN))
    return store


def shown(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(words) == 0
    return capfd.readouterr().out


def held(narrow: str, wide: str, width: int) -> None:
    """Every word of the wide rendering is whole in the narrow one, and no line is wider than the terminal."""
    assert "…" not in narrow
    assert max(map(len, narrow.splitlines())) <= width
    words = set(narrow.split())
    assert [word for word in wide.split() if word not in words] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", VERBS)
def test_help_breaks_no_option_and_no_value(
    verb: str, width: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(capfd, monkeypatch, width, verb, "--help")
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    command = module.typer.main.get_command(module.app).commands[verb]
    words = set(re.split(r"[\s,|<>/]+", text))
    for parameter in command.params:
        for option in parameter.opts:
            assert option in words or not option.startswith("-"), option
        kind = parameter.type_descriptor.annotation
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        assert {str(choice) for choice in choices} <= words
    example = next(example for _, function, example in module._COMMANDS if function.__name__ == verb)
    assert example in " ".join(text.replace("\\\n", " ").split())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_overview_names_every_verb(
    width: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(capfd, monkeypatch, width, "--help")
    assert "…" not in text
    assert set(VERBS) <= set(text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", PRINTED, ids=" ".join)
def test_what_is_printed_is_whole(
    words: tuple[str, ...], width: int, store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = [store.uri] if words == ("status",) else []
    wide, narrow = (shown(capfd, monkeypatch, columns, *words, *place) for columns in (10_000, width))
    if words == ("status",):
        wide = re.sub(r"\d+\.\d h", "", wide)  # the clock goes on
    held(narrow, wide, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_leaderboard_leaves_columns_out_and_cuts_none(
    width: int, store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(capfd, monkeypatch, width, "leaderboard", store.uri)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    document = json.loads(shown(capfd, monkeypatch, width, "leaderboard", store.uri, "--json"))
    for row in document:
        if row["configuration"] == row["trial_id"] and row["status"] == "completed":
            assert row["trial_id"] in words
            assert score_text("fid", row["mean"]["fid"]) in words
            assert f"{100 * row['mean']['accuracy']:.1f}" in words
    assert "3131" in words
    assert "Left out for want of width" in " ".join(text.split()) or {"lr_d", "n_critic", "width", "attention"} <= words


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_named_columns_are_all_there(
    width: int, store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = "trial,fid,kid,fid_floor,accuracy - real only,lr_d,lr_g,architecture.width,penalty.kind,reason"
    words = ("leaderboard", store.uri, "--columns", columns)
    wide, narrow = (shown(capfd, monkeypatch, place, *words) for place in (10_000, width))
    held(narrow, wide, width)
    assert "0.0000123" in narrow


def test_an_unknown_column_is_one_line(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", store.uri, "--columns=fidd"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: --columns: unknown column 'fidd'; did you mean fid? known: #, accuracy")
    assert error.count("\n") == 1


@pytest.mark.parametrize("width", [60, *WIDTHS])
def test_confirm_is_whole_and_ends_with_the_answer(
    width: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {
        name: {"accuracy": [0.552, 0.201, 0.858], "sensitivity": [0.5, 0.093, 0.907]} for name in ("real", *NO_EVIDENCE)
    }
    leader = {**result(NO_EVIDENCE)["leaders"][0], "arms": arms, "absent": {name: {} for name in arms}}
    leader["absent"]["synthetic only"] = {"auroc": "its detectors give probabilities that are not finite"}
    table = below(_as_table({"patients": 8, "images": 32, "base": "real", "leaders": [leader]}, "accuracy"), SENTENCE)

    def at(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        emit({}, table, as_json=False)
        return capfd.readouterr().out

    wide, narrow = at(10_000), at(width)
    assert wide.splitlines()[-1] == SENTENCE
    held(narrow, wide, width)
    for said in ("+12.5", "(-16.5", "+41.5)", "55.2", "evidence"):
        assert said in narrow.split()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.timeout(900)
def test_a_real_terminal_gets_whole_words(width: int, store: Store, tmp_path: Path) -> None:
    if shutil.which("script") is None:
        pytest.skip("script is not installed")
    command = f"stty cols {width}; {sys.executable} -m gansweep.cli leaderboard {store.uri}"
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "TERM": "xterm", "NO_COLOR": "1"}
    ran = subprocess.run(
        ["script", "-qec", command, str(tmp_path / "typescript")],
        capture_output=True, text=True, check=True, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", ran.stdout)
    assert "3131" in text.split()
    assert "…" not in text
    assert max(len(line.rstrip("\r")) for line in text.splitlines()) <= width


def test_a_table_gives_up_spare_columns_then_stacks() -> None:
    columns = [
        Column("trial", ["0001"]),
        Column("a long score", ["3131.4"], right=True),
        Column("lr", ["1"], spare=True),
    ]
    table = FittingTable(columns)
    assert rendered(table, 20).splitlines() == ["          a long", "trial      score  lr", "0001      3131.4  1"]
    assert rendered(table, 14).splitlines()[:3] == ["        a long", "trial    score", "0001    3131.4"]
    assert "width: lr." in " ".join(rendered(table, 14).split())
    assert rendered(table, 10).splitlines()[:3] == ["trial:", "0001", "a long"]


def rendered(table: Any, width: int) -> str:
    import io

    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def test_chosen_columns_are_in_the_users_order() -> None:
    columns = [Column("a", ["1"]), Column("b", ["2"])]
    assert [column.header for column in chosen(columns, ["b", "a"])] == ["b", "a"]
    assert chosen(columns, None) == columns


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(3131.4, 3, "3131"), (1e6, 3, "1000000"), (99.96, 3, "100.0"), (0.012345, 3, "0.0123"), (1.2e-5, 3, "0.0000120"),
     (1e14, 3, "100000000000000"), (-1e308, 3, "-1.00e+308"),
     (0.0, 3, "0.00"), (-12.34, 3, "-12.3"), (12345.678, 4, "12346")],
)  # fmt: skip
def test_numbers_have_no_exponent_unless_they_have_more_than_15_digits(value: float, digits: int, text: str) -> None:
    assert plain(value, digits) == text


def test_watching_ends_with_the_sweep(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three looks: two at a sweep under way, the last at a finished one."""
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            store.update_info(trials=6)

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["status", store.uri, "--watch", "--every=2"]) == 0
    out = capfd.readouterr().out
    assert out.count("Not known yet whether synthetic images help") == 3
    assert looks == [2.0, 2.0]
    store.update_info(trials=14)


def test_a_dead_driver_is_told_at_once(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path), "fahr", make_info())
    store.write_trial(TrialRow("0000", 0, "running", make_config(), started=BEGAN))
    assert not sweep_status(store, now=BEGAN).dead, "nobody has driven it yet"
    code = (
        "import sys, time\nfrom gansweep.store.store import Store\n"
        "with Store.open(sys.argv[1]).exclusive():\n print(1, flush=True)\n time.sleep(60)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, store.uri], stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert driver.stdout is not None
    driver.stdout.readline()
    assert not sweep_status(store, now=BEGAN).dead
    driver.kill()
    driver.wait()
    assert sweep_status(store, now=BEGAN).dead


def make_config() -> Any:
    from gansweep.config import TrialConfig

    return TrialConfig()


@pytest.mark.parametrize("words", [["--version"], ["settings", "--family", "dcgan"]])
def test_closed_streams_are_no_error(words):
    command = [sys.executable, "-m", "gansweep", *words]
    closed = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, check=False, timeout=120).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_full_output_is_named():
    command = [sys.executable, "-m", "gansweep", "settings", "--family", "dcgan"]
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert found.returncode == 2
    assert found.stderr == "error: stdout: cannot write the result: No space left on device\n"
