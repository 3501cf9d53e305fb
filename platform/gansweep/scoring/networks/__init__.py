"""Networks for scoring: feature extractors, detectors and segmenters."""
