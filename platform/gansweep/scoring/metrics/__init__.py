"""Metrics of two sets of images, and of a detector's predictions."""
