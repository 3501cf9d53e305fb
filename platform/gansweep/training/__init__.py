"""The training loop of every GAN, with its batches, random numbers, averages, samples and divergence checks."""
