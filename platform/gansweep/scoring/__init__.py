"""Scores: how realistic the images look and how much a detector gains from them, each with its uncertainty."""
