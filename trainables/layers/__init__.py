"""Layers and networks used by the families."""
