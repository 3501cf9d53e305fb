"""Metrics between two sets of images, and of a detector's answers."""
