"""Training algorithms shared by several families."""
