"""Tune's statistics of an ended trial are freed."""

from ray.tune.experiment import Trial

from gansweep.search.tune_memory import Forgetting


def test_an_ended_trial_keeps_no_statistics() -> None:
    for event in (Forgetting().on_trial_complete, Forgetting().on_trial_error):
        trial = Trial("a trainable", stub=True)
        trial.update_last_result({"fid": 3.0, "training_iteration": 1, "result": {"scores": [1.0, 2.0]}})
        assert "fid" in trial.metric_analysis
        assert "fid" in trial.metric_n_steps
        event(iteration=1, trials=[trial], trial=trial)
        assert (trial.metric_analysis, trial.metric_n_steps) == ({}, {})
        assert trial.last_result["fid"] == 3.0
