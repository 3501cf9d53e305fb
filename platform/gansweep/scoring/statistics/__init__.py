"""Confidence intervals, resampling by patient, and verdicts."""
