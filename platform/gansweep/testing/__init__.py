"""Contract tests and fakes for those who add their own trainables."""
