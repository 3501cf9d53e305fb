"""A full device is told in one line, without a traceback."""

from __future__ import annotations

import pytest
import torch

from gansweep.cli import app


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (torch.OutOfMemoryError("extractor x:0123: out of memory on cuda:0"), 2, "error: extractor x:0123: out of"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "error: [enforce fail]"),
        (MemoryError(), 2, "error: out of memory"),
        (MemoryError("Unable to allocate 256. TiB"), 2, "error: Unable to allocate"),
        (RuntimeError("anything else"), 1, "internal error: RuntimeError: anything else"),
    ],
)
def test_one_line(error, status, line, monkeypatch, capsys, tmp_path):
    def fails(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(app, "app", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the traceback is kept there
    assert app.main(["score"]) == status
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(line)
