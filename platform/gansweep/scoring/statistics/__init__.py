"""Intervals, resampling by patient, and verdicts."""
