"""What is searched: one small file per experiment, whose function of the same name returns an Experiment."""
