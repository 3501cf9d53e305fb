"""The training loop of all GANs, with its batches, random numbers, averages, samples and divergence checks."""
