"""The experiments of published work, each tried first as published and then searched around."""
