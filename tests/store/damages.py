"""Ways to damage a file, for the tests of stores."""

import logging


def truncated(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


def filled(path, _):
    path.write_bytes(b"not a table" * 300)


def emptied(path, _):
    path.write_bytes(b"")


def with_broken_pages(path, _):
    """Keeps the frame of a Parquet file, and destroys what is in it."""
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 3] = bytes(len(content) // 3 - 4)
    path.write_bytes(content)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
