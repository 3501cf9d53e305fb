"""Detectors and segmenters, trained on synthetic images to measure what these are worth."""
