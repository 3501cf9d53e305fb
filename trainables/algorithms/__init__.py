"""Training algorithms that several families share."""
