"""From an Experiment to finished trials: Ray Tune, the warm worker group, Optuna."""
