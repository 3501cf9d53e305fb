"""From an Experiment to finished trials: Ray Tune, the warm gang, Optuna."""
