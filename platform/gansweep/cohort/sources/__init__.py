"""Where images are listed: a labels CSV, a BIDS folder, or one folder per class."""
