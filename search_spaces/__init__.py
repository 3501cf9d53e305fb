"""Search spaces: one file per experiment, with a function of the same name that returns an `Experiment`."""
