"""Contract tests and example data for authors of trainables."""
