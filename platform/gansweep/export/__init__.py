"""Exports of a sweep: the best configuration, its generator with evidence, production training, and images."""
