"""Whether a generator copies the patients it was trained on."""
