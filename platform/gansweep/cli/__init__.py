"""The command line: the only place that parses arguments."""

from gansweep.cli.app import main

__all__ = ["main"]
