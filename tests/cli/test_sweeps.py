"""What `sweep` and `submit` say in the end, with the search and the cluster left out."""

import shlex
from datetime import UTC, datetime

import pytest

from gansweep.cli import main
from gansweep.cli.app import app
from gansweep.cluster.submit import JobEnd
from gansweep.command_line import as_words
from gansweep.config import Objective, TrialConfig
from gansweep.options import AnswerOptions, ConfirmOptions
from gansweep.search.sweep_file import sweep_request
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo
from tests.values import sweep_options


@pytest.fixture
def store(tmp_path):
    info = SweepInfo(
        name="s",
        experiment={"name": "smoke"},
        space="smoke",
        cohort=CohortReference(path="/data/cohort", content_hash="ab" * 32, classes=("control", "fahr")),
        objectives=(Objective(name="fid", direction="minimize"),),
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return Store.create(str(tmp_path / "my runs"), "s", info)


@pytest.fixture
def swept(store, monkeypatch):
    """Runs `sweep`, whose search leaves trials that ended like these."""

    def run(*statuses):
        def search(*_args, **_options):
            for number, status in enumerate(statuses):
                store.write_trial(TrialRow(f"{number:04d}", 0, status, TrialConfig(), reason="out of device memory"))
            return store

        monkeypatch.setattr("gansweep.search.sweep.sweep", search)
        return main(["sweep", "smoke", "--cohort=c", f"--storage={store.local.parent}", "--name=s", "--trials=3"])

    return run


def test_a_sweep_without_a_usable_trial_says_why_and_exits_with_one(swept, capfd):
    assert swept("failed", "failed", "diverged") == 1
    assert capfd.readouterr().err == ("no trial ended with a generator; most often failed: out of device memory\n")


def test_a_sweep_without_any_trial_is_no_fault_of_ours(swept, capfd):
    assert swept() == 1
    assert capfd.readouterr().err == "no trial ended with a generator\n"


def test_one_usable_trial_is_a_success_and_the_next_command_can_be_pasted(swept, store, capfd):
    assert swept("failed", "stopped") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert shlex.split(out.partition("next: ")[2]) == ["gansweep", "leaderboard", str(store.local)]


def test_the_demo_ends_with_a_sweep_that_failed(store, swept, tmp_path, monkeypatch):
    assert swept("failed") == 1  # from here on the search leaves no generator
    words = ["sweep", "smoke", "--cohort=c", f"--storage={store.local.parent}", "--name=s", "--trials=1"]
    monkeypatch.setattr("gansweep.cli.demo._commands", lambda *_: [words, ["never", "reached"]])
    assert main(["demo", f"--out={tmp_path / 'demo'}"]) == 1


@pytest.fixture
def submitted(monkeypatch):
    """Runs `submit`, whose job ends like this."""

    def run(end, *words):
        def follow(*_args, **_options):
            if isinstance(end, JobEnd):
                return end
            raise end

        def submit(_space, options, **_options):
            run.options = options
            return "raysubmit_1"

        monkeypatch.setattr("gansweep.cluster.submit.submit_sweep", submit)
        monkeypatch.setattr("gansweep.cluster.submit.follow", follow)
        storage = "--storage=s3://KEY:secret@bucket/my runs?region=x"
        return main(["submit", "smoke", "--cohort=c", storage, "--name=s", "--trials=3", *words])

    return run


def test_a_submitted_job_is_told_how_to_be_watched(submitted, capfd):
    assert submitted(None, "--no-wait", "--address=http://head:8265") == 0
    assert capfd.readouterr().out == (
        "raysubmit_1 runs; watch it: gansweep status 's3://bucket/my runs/s', "
        "or ray job logs --follow --address=http://head:8265 raysubmit_1\n"
    )


def test_a_job_that_is_no_longer_followed_is_told_how_to_be_watched_ended_and_resumed(submitted, capfd):
    assert submitted(KeyboardInterrupt()) == 130
    said = capfd.readouterr().err
    assert "raysubmit_1 goes on; watch it: gansweep status 's3://bucket/my runs/s'" in said
    assert "ray job stop raysubmit_1 ends it, the same submit with --resume goes on from there" in said


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        (JobEnd("SUCCEEDED", 0, ""), 0, "succeeded; next: gansweep leaderboard 's3://bucket/my runs/s'"),
        (JobEnd("FAILED", 2, ""), 2, "failed; the same submit with --resume goes on from there"),
        (JobEnd("STOPPED", None, ""), 1, "stopped; the same submit with --resume goes on from there"),
    ],
)
def test_an_ended_job_is_told_what_comes_next(end, status, says, submitted, capfd):
    assert submitted(end) == status
    assert capfd.readouterr().out == f"raysubmit_1 {says}\n"


@pytest.mark.parametrize("verb", ["sweep", "submit"])
@pytest.mark.parametrize("name", ["", "..", "../esc", "s?region=x"])
def test_a_name_that_leads_out_of_the_storage_is_refused(verb, name, capfd):
    assert main([verb, "smoke", "--cohort=c", "--storage=s", f"--name={name}", "--trials=3"]) == 2
    fix = "choose a folder's name, without any of / \\ ? # %"
    assert capfd.readouterr().err == f"error: --name: {name!r} cannot name a sweep; {fix}\n"


@pytest.mark.parametrize(
    ("given", "path"),
    [("f.pt", "f.pt"), ("'my: #1.pt'", "my: #1.pt"), ("/nets/f.pt", "/nets/f.pt")],
)
def test_a_submitted_sweep_finds_its_extractor_from_any_directory(given, path, submitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert submitted(None, "--no-wait", f"--set=scoring.features={given}", "--set=lr_d=2e-4") == 0
    assert submitted.options.settings == {"scoring.features": str(tmp_path / path), "lr_d": 2e-4}


def test_a_sweep_records_where_its_extractor_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = sweep_options(set={"scoring.features": "f.pt"})
    asked = sweep_request("smoke", dict(given), where="sweep")
    assert asked.experiment.scoring.features == str(tmp_path / "f.pt")
    assert asked.options.recorded()["set"] == {"scoring.features": str(tmp_path / "f.pt")}


@pytest.mark.parametrize("options", [sweep_options, AnswerOptions])
def test_every_file_of_a_setting_has_an_absolute_path(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = options(set={"scoring.detector_features": "f.pt", "scoring.features": "/g.pt", "lr_d": 1e-3})
    wanted = {"scoring.detector_features": str(tmp_path / "f.pt"), "scoring.features": "/g.pt", "lr_d": 1e-3}
    assert given.settings == wanted


@pytest.mark.parametrize("given", ["null", ""])
def test_no_extractor_is_no_path(given, submitted):
    assert submitted(None, "--no-wait", f"--set=scoring.features={given}") == 0
    assert submitted.options.settings == {"scoring.features": None}


def test_the_job_reads_the_options_that_were_submitted(tmp_path, monkeypatch):
    """Every field that is not at its default travels, whatever its type."""
    seen = []
    monkeypatch.setattr("gansweep.search.sweep.sweep", lambda _experiment, options, **_: seen.append(options))
    given = sweep_options(
        cohort=tmp_path / "my cohort",
        storage="s3://bucket/runs",
        study="postgresql://h/sweeps",
        trials=7,
        workers_per_trial=2,
        gpus_per_worker=0.5,
        cpus_per_worker=2.5,
        placement="spread",
        accelerator="H100",
        concurrent=3,
        sampler="nsga-ii",
        scheduler="none",
        time_budget="8h",
        max_gpu_hours=40.0,
        patience=20,
        start_from="s3://bucket/runs/phantoms",
        warm_start=("s3://bucket/runs/phantoms", "/runs/fahr"),
        freeze_critic=2,
        target={"accuracy": 0.9},
        constraints=("seconds_per_iteration<=0.5", "accuracy>=0.6"),
        prune=("class_spread>=0.1", "imbalance<=50"),
        set={"lr_d": 2e-4, "augmentation.policy": ["flip", "cutout"], "scoring.features": None, "family": "dcgan"},
        tries=({"lr_d": 3e-4, "width": 16}, {"augmentation.policy": ["flip", "cutout"], "family": "dcgan"}),
        seed=4,
        resume=True,
        checkpoint_minutes=2.5,
        hang_minutes=30.0,
        hang_factor=5.0,
        tensorboard=True,
        mlflow=True,
        wandb=True,
        wait_for_nodes=60.0,
        wait_for_storage=30.0,
    )
    changed = {name for name in type(given).model_fields if getattr(given, name) != getattr(sweep_options(), name)}
    assert changed == set(type(given).model_fields) - {"name"}, "a new field needs a value here"
    with pytest.raises(AttributeError):  # the search gave no store back
        app(["sweep", "smoke", *as_words(given)], standalone_mode=False)
    assert seen == [given]


def test_options_with_several_values_travel_as_they_are_typed():
    """A job's command line is read by the same parser as the user's."""
    options = ConfirmOptions(ratios=(0.25, 1.0), rivals=("mixup", "paste"))
    assert as_words(options) == ["--ratios=0.25,1.0", "--rivals=mixup,paste"]
    assert as_words(ConfirmOptions(rivals=())) == ["--rivals=none"]


MIDWAY = "changes a trial's configuration and weights midway, so no single configuration made the result"
REFUSED = {"pbt": MIDWAY, "pb2": MIDWAY, "bohb": "BOHB models one objective over a declared list of parameters"}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "smoke", "--cohort=c", "--storage=s", "--name=s", "--trials=3", "--scheduler={}"],
        ["sweep", "smoke", "--cohort=c", "--storage=s", "--name=s", "--trials=3", "--set=scheduler.kind={}"],
        ["sweep", "sweep.yaml", "--cohort=c", "--storage=s", "--name=s", "--trials=3"],
        ["submit", "smoke", "--cohort=c", "--storage=s", "--name=s", "--trials=3", "--scheduler={}"],
        ["replay", "s", "--schedulers=asha,{}"],
    ],
)
def test_a_scheduler_of_tune_that_does_not_fit_is_refused_with_the_reason(name, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(f"space: smoke\nscheduler: {name}\n")
    assert main([word.format(name) for word in words]) == 2
    told = capfd.readouterr().err
    assert told.startswith(f"error: scheduler: {name} does not fit: ")
    assert REFUSED[name] in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_an_unknown_scheduler_is_told_with_the_known_ones(capfd):
    words = ["sweep", "smoke", "--cohort=c", "--storage=s", "--name=s", "--trials=3", "--scheduler=asah"]
    assert main(words) == 2
    assert capfd.readouterr().err == (
        "error: sweep: scheduler = 'asah': input should be 'asha', 'hyperband', 'median', 'mo-asha', 'asha-any' or "
        "'none'\n"
    )
