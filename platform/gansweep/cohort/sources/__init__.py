"""Finds images and their labels: in a labels CSV, a BIDS folder, or one folder per class."""
