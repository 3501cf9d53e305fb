"""Detectors and segmenters, trained on synthetic images to measure how useful these are."""
