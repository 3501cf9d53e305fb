"""What Tune keeps of an ended trial is freed."""

from ray.tune.experiment import Trial

from gansweep.search.tune_memory import Forgetting


def test_an_ended_trial_keeps_no_results() -> None:
    for event in (Forgetting().on_trial_complete, Forgetting().on_trial_error):
        trial = Trial("a trainable", config={"lr_d": 1e-3}, evaluated_params={"lr_d": 1e-3}, stub=True)
        trial.update_last_result({"fid": 3.0, "training_iteration": 1, "result": {"scores": [1.0, 2.0]}})
        assert "fid" in trial.metric_analysis
        assert "fid" in trial.metric_n_steps
        trial._default_result_or_future = {"pid": 1}
        event(iteration=1, trials=[trial], trial=trial)
        assert (trial.metric_analysis, trial.metric_n_steps) == ({}, {})
        assert (trial.config, trial.evaluated_params) == ({}, {})
        assert trial.last_result == {"trial_id": trial.trial_id}, "as Tune gives it without any"
