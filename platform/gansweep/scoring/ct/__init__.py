"""Metrics that need Hounsfield units."""
