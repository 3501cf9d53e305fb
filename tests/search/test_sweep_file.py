"""A sweep as a file: what it says, what stands above it, and what is wrong with it in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import gansweep
from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.errors import ConfigError, GansweepError
from gansweep.options import SweepOptions
from gansweep.search.spaces import load_space
from gansweep.search.sweep_file import is_sweep_file, sweep_request
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.search.sweep_file import SweepRequest

FILE = """\
space: smoke
cohort: scans/cohort
storage: runs
name: first
trials: 20
workers-per-trial: 2
gpus_per_worker: 0.5
scheduler: none
time_budget: 8h
target: {accuracy: 0.9, fid: 3e1}
set:
  iterations: 400
  lr_d: 2e-4
  scoring: {samples: 64}
try:
  - {lr_g: 1e-3}
  - lr_g: 0.002
"""
OPTIONS: dict[str, Any] = {"cohort": "c", "storage": "s", "name": "n", "trials": 3}


def asked(path: Path, **given: Any) -> SweepRequest:
    return sweep_request(str(path), given, where="sweep")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, SweepOptions, str]]:
    """What `sweep` was told to run."""
    seen: list[tuple[Any, SweepOptions, str]] = []

    def run(experiment: Any, options: SweepOptions, *, space: str) -> None:
        seen.append((experiment, options, space))
        raise KeyboardInterrupt

    monkeypatch.setattr("gansweep.search.sweep.sweep", run)
    return seen


@pytest.fixture
def store(cohort_path: Path, tmp_path: Path) -> Store:
    """A store of `smoke`, with some options away from their defaults."""
    options = SweepOptions(
        cohort=cohort_path,
        storage=str(tmp_path / "runs"),
        name="first",
        trials=4,
        workers_per_trial=2,
        sampler="random",
        set={"iterations": 40, "scoring.samples": 16},
        tries=({"lr_d": 3e-4},),
        target={"accuracy": 0.75},
        seed=9,
    )
    experiment = load_space("smoke").with_settings(options.changes())
    info = describe_sweep(experiment, Cohort.open(cohort_path), options, space="smoke")
    return Store.create(options.storage, options.name, info)


def test_lists_are_written_as_on_the_command_line_too(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"{FILE}constraint: accuracy>=0.6, peak_memory_gib<=20\nwarm_start: /runs/a,/runs/b\n")
    options = asked(path).options
    assert options.constraints == ("accuracy>=0.6", "peak_memory_gib<=20")
    assert options.warm_start == ("/runs/a", "/runs/b")
    path.write_text(f"{FILE}warm_start: /runs/a,\n")
    with pytest.raises(ConfigError, match=r"warm_start = .*: a name of a store is empty"):
        asked(path)
    path.write_text(f"{FILE}constraint: accuracy=0.6\n")
    with pytest.raises(ConfigError, match=r"'accuracy=0\.6' is not NAME<=NUMBER or NAME>=NUMBER"):
        asked(path)


def test_every_value_of_the_file_arrives(file: Path) -> None:
    found = asked(file)
    assert found.space == "smoke"
    expected: dict[str, Any] = {
        "cohort": "scans/cohort",
        "storage": "runs",
        "name": "first",
        "trials": 20,
        "workers_per_trial": 2,
        "gpus_per_worker": 0.5,
        "scheduler": "none",
        "time_budget": "8h",
        "target": {"accuracy": 0.9, "fid": 30.0},
        "set": {"iterations": 400, "lr_d": 2e-4, "scoring.samples": 64},
        "try": ({"lr_g": 1e-3}, {"lr_g": 0.002}),
    }
    assert found.options == SweepOptions(**expected)
    assert found.experiment.overrides == {"iterations": 400, "lr_d": 2e-4}
    plain = load_space("smoke")
    assert found.experiment.scoring == plain.scoring.model_copy(update={"samples": 64}), "the others stay the space's"
    assert found.experiment.scheduler.kind == "none"


def test_json_says_the_same(file: Path, tmp_path: Path) -> None:
    options = asked(file).options
    values = options.model_dump(mode="json", by_alias=True)
    (tmp_path / "s.json").write_text(json.dumps({"space": "smoke", **values}))
    assert asked(tmp_path / "s.json").options == options


def test_the_command_line_stands_above_the_file(file: Path, ran: list[Any]) -> None:
    words = ["--name=second", "--trials=5", "--workers-per-trial=1", "--set=lr_d=1e-3", "--target=fid=10", "--resume"]
    assert main(["sweep", str(file), *words, "--try=lr_g=5e-4", "--set=penalty.lambda=1"]) == 130
    ((experiment, options, space),) = ran
    assert space == "smoke"
    assert (options.name, options.trials, options.workers_per_trial, options.resume) == ("second", 5, 1, True)
    assert options.settings == {"iterations": 400, "lr_d": 1e-3, "scoring.samples": 64, "penalty.lambda": 1}
    assert options.target == {"accuracy": 0.9, "fid": 10.0}
    assert options.tries == ({"lr_g": 5e-4},), "guesses are replaced as a whole"
    assert options.gpus_per_worker == 0.5, "what was not given is the file's"
    assert experiment.overrides == {"iterations": 400, "lr_d": 1e-3, "penalty.lambda": 1}


@pytest.mark.parametrize(
    ("given", "kind"),
    [({"scheduler": "median"}, "median"), ({"set": {"scheduler.kind": "asha"}}, "asha"), ({}, "none")],
)
def test_a_key_that_is_an_option_too_is_overridden_either_way(file: Path, given: dict[str, Any], kind: str) -> None:
    assert asked(file, **given).experiment.scheduler.kind == kind


def test_bounds_of_the_user_stand_above_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"{FILE}constraint: accuracy>=0.6\nprune: class_spread>=0.1\n")
    given = {"prune": [{"score": "class_spread", "at_least": 0.2}], "constraints": [{"score": "fid", "at_most": 9.0}]}
    experiment = asked(path, set=given).experiment
    assert [str(bound) for bound in (*experiment.prune, *experiment.constraints)] == ["class_spread>=0.2", "fid<=9"]


def test_submit_takes_the_file_and_hands_the_space_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def submit(space: str, options: SweepOptions, **_: Any) -> str:
        seen.append((space, options))
        return "raysubmit_1"

    monkeypatch.setattr("gansweep.cluster.submit.submit_sweep", submit)
    assert main(["submit", str(file), "--no-wait", "--cohort=/data/c"]) == 0
    assert seen == [("smoke", asked(file, cohort="/data/c").options)]


def test_the_library_takes_the_file(file: Path, ran: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        gansweep.sweep(str(file), name="third", settings={"lr_d": 0.01})
    assert ran[0][1] == asked(file, name="third", set={"lr_d": 0.01}).options


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("trials: 3", "missing key 'space'; add space: NAME (see gansweep trainables), or space: path/to/file.py:"),
        (
            "space: smoke\ntrails: 3",
            "unknown key 'trails'; did you mean trials? known: accelerator, checkpoint_minutes, cohort",
        ),
        ("space: smoke\nsettings: {}", "unknown key 'settings'; "),
        ("space: smoke\ntrials: many", "trials = 'many': input should be a valid integer"),
        ("space: smoke\ntrials: 0", "trials = 0: input should be greater than or equal to 1"),
        ("space: smoke\ntrials: yes", "trials = True: input should not be true or false"),
        ("space: smoke\nname: 12", "name = 12: input should be a valid string"),
        ("space: smoke\nsampler: tpee", "sampler = 'tpee': input should be 'tpe'"),
        ("space: smoke\ntarget: {fid: low}", "target.fid = 'low': input should be a valid number"),
        ("space: smoke\nset: [lr_d]", "set = ['lr_d']: input should be a valid dictionary"),
        ("space: smoke\ntry: {lr_d: 1}", "try = {'lr_d': 1}: input should be a valid tuple"),
        ("space: smoke\ntrials: 1\ntrials: 2", "not YAML ('trials' is given twice, line 3)"),
        ("space: smoke\nset: {lr_d: 1, lr_d: 2}", "not YAML ('lr_d' is given twice, line 2)"),
        ("space: smoke\nwait-for-nodes: 1\nwait_for_nodes: 2", "'wait_for_nodes' is given twice"),
        ("space: [", "not YAML ("),
        ("smoke", "no keys with values; write space: NAME"),
        ("", "no keys with values; "),
        ("space: 3", "space: 3 is no space; give a name of gansweep trainables"),
        ("space: other.yaml", "space: 'other.yaml' is no space; "),
        ("space: smok", "space: unknown search space 'smok'; did you mean smoke?"),
        ("space: nowhere.py:mine", "space: nowhere.py: no such file; "),
        ("space: smoke\nset: {lrd: 1}", "set: unknown key 'lrd'; did you mean lr_d? known keys: "),
        ("space: smoke\nset: {lr_d: 5}", "set: lr_d = 5: input should be less than or equal to 1"),
        ("space: smoke\nname: ../up", "name: '../up' cannot name a sweep; "),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    text: str, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], ran: list[Any]
) -> None:
    path = tmp_path / "my.yml"
    path.write_text(text)
    values = {**OPTIONS, **{key: None for key in OPTIONS if f"{key}:" in text}}
    words = [f"--{key}={value}" for key, value in values.items() if value is not None]
    assert main(["sweep", str(path), *words]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"error: {path}: {line}")
    assert ran == []


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("time_budget: soon", "time_budget: 'soon' is not a time above zero; give a time such as 8h, 90m or 1h30m"),
        ("target: {kid: 1.0}", "target: unknown objective 'kid'; did you mean fid? known: accuracy, fid"),
        ("try: [{lr_d: 7}]", "try: lr_d = 7 is not in the space; choose one from "),
        ("try: [{lrd: 1}]", "try: unknown parameter 'lrd'; did you mean "),
    ],
)
def test_what_only_the_sweep_can_tell_names_the_file_too(
    more: str, line: str, cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"space: smoke\ncohort: {cohort_path}\nstorage: {tmp_path / 'runs'}\nname: n\ntrials: 2\n{more}\n")
    assert main(["sweep", str(path)]) == 2
    assert capfd.readouterr().err.startswith(f"error: {path}: {line}")
    assert not (tmp_path / "runs").exists()


def test_a_mistake_of_the_command_line_is_not_the_files(
    file: Path, cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"--cohort={cohort_path}", f"--storage={tmp_path / 'runs'}", "--time-budget=soon"]
    assert main(["sweep", str(file), *words]) == 2
    assert capfd.readouterr().err.startswith("error: --time-budget: 'soon' is not a time above zero")


def test_a_cohort_that_is_not_there_names_the_file(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(file)]) == 2
    assert capfd.readouterr().err.startswith(f"error: {file}: cohort: scans/cohort")


@pytest.mark.parametrize("key", ["cohort", "storage", "name", "trials"])
def test_an_option_that_nobody_gave_is_named(key: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [f"--{name}={value}" for name, value in OPTIONS.items() if name != key]
    assert main(["sweep", "smoke", *words]) == 2
    assert capfd.readouterr().err == f"error: Missing option '--{key}' (see gansweep sweep --help)\n"
    path = tmp_path / "s.yaml"
    path.write_text("space: smoke\n")
    assert main(["submit", str(path), *words]) == 2
    assert capfd.readouterr().err == f"error: {path}: missing key '{key}'; add it, or give --{key}\n"


def test_a_file_that_is_not_there_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "nowhere/sweep.yaml"]) == 2
    assert capfd.readouterr().err == "error: nowhere/sweep.yaml: No such file or directory\n"


def test_what_a_store_records_is_run_again_under_another_name(store: Store, cohort_path: Path, tmp_path: Path) -> None:
    found = asked(tmp_path / "runs" / "first" / "sweep.json", name="again")
    assert found.space == "smoke"
    assert found.options == SweepOptions(
        cohort=cohort_path,
        storage=str(tmp_path / "runs"),
        name="again",
        trials=4,
        workers_per_trial=2,
        sampler="random",
        set={"iterations": 40, "scoring.samples": 16},
        tries=({"lr_d": 3e-4},),
        target={"accuracy": 0.75},
        seed=9,
    )
    assert found.experiment.model_dump(mode="json", by_alias=True) == store.info.experiment


def test_a_record_needs_a_name_of_its_own(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    path = f"{store.uri}/sweep.json"
    assert main(["sweep", path]) == 2
    assert capfd.readouterr().err == f"error: {path}: missing key 'name'; add it, or give --name\n"
    assert main(["sweep", f"file://{path}"]) == 2
    assert capfd.readouterr().err == f"error: file://{path}: missing key 'name'; add it, or give --name\n"
    assert (
        sweep_request(f"file://{path}", {"name": "x"}, where="sweep").options.storage == f"file://{store.local.parent}"
    )


def test_what_a_resumption_extended_is_run_to_its_new_end(store: Store) -> None:
    store.update_info(trials=12)
    assert asked(store.local / "sweep.json", name="again").options.trials == 12


def test_a_record_whose_space_makes_something_else_is_refused(store: Store) -> None:
    changed = {**store.info.experiment, "reports": 7}
    store.update_info(experiment=changed)
    with pytest.raises(ConfigError, match=r"sweep.json: the sweep had reports = 7, and its space smoke now gives 2; "):
        asked(store.local / "sweep.json", name="again")


def test_a_record_without_options_is_refused(store: Store) -> None:
    store.update_info(options={})
    with pytest.raises(ConfigError, match="the sweep did not record its options; give the space and its options"):
        asked(store.local / "sweep.json", name="again")


def test_what_a_record_names_is_executed_only_if_its_hash_vouches_for_it(store: Store, tmp_path: Path) -> None:
    space = tmp_path / "theirs.py"
    space.write_text("from pathlib import Path\nPath(__file__).with_name('executed').touch()\n")
    store.update_info(space=f"{space}:mine", space_sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"not executed: theirs.py is not the file that the sweep ran; if you"):
        asked(store.local / "sweep.json", name="again")
    assert not (tmp_path / "executed").exists()


def test_a_lost_record_is_run_again_from_its_copy(store: Store) -> None:
    path = store.local / "sweep.json"
    before = asked(path, name="again")
    path.write_text(path.read_text()[:200])
    assert asked(path, name="again").options == before.options
    path.unlink()
    assert asked(path, name="again").options == before.options


def test_a_damaged_record_without_its_copy_is_one_line(store: Store) -> None:
    path = store.local / "sweep.json"
    path.write_text(path.read_text()[:200])
    path.with_name("sweep.copy.json").write_text("{")
    with pytest.raises(GansweepError, match=r"sweep.json: not valid JSON; put back a copy of it"):
        asked(path, name="again")
    path.with_name("sweep.copy.json").unlink()
    with pytest.raises(GansweepError, match=r"sweep.json: not JSON \("):
        asked(path, name="again")


@pytest.mark.parametrize(
    ("reference", "is_file"),
    [
        ("a.yaml", True),
        ("a/b.YML", True),
        ("s3://bucket/runs/s/sweep.json?region=x", True),
        ("smoke", False),
        ("seeds/dcgan", False),
        ("my.py:space", False),
    ],
)
def test_a_file_is_told_from_a_space(reference: str, is_file: bool) -> None:
    assert is_sweep_file(reference) is is_file


def test_a_wrong_key_of_set_is_told_of_that_option() -> None:
    given = {"cohort": "c", "storage": "s", "name": "n", "trials": 1, "set": {"lrd": 1}}
    with pytest.raises(ConfigError, match=r"^--set: unknown key 'lrd'; did you mean lr_d\? known keys: architecture"):
        sweep_request("smoke", given, where="sweep")


def test_more_trials_than_a_record_can_count_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trials = .*: input should be less than or equal to 1000000000"):
        sweep_request("smoke", {**OPTIONS, "trials": 10**30}, where="sweep")
