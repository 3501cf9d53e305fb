"""One training loop for every GAN, with what it needs: workers, random numbers, averages, samples, divergence."""
