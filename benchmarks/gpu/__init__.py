"""Everything about a GPU that the documentation may quote, measured by one command: `make gpu`."""
