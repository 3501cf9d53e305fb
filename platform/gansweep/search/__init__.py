"""Runs the trials of an Experiment: Ray Tune, the warm worker group, Optuna."""
