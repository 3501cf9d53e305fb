"""Networks that scores need: feature extractors, detectors and segmenters."""
