"""What leaves a sweep: the best configuration, its generator with its evidence, production training, images."""
