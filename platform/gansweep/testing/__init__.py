"""Contract tests and example data for authors of their own trainables."""
