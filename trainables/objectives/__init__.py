"""Training objectives: losses, penalties, and augmentation of the critic's inputs."""
