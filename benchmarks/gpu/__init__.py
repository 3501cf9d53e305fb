"""Everything about a GPU that the documentation may quote, measured by one command: `make gpu`."""

from __future__ import annotations

import importlib.util

NEEDED = ("torch", "numpy", "pydantic", "safetensors")

MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

if MISSING:
    names = " ".join(MISSING)
    raise SystemExit(f"python has no {', '.join(MISSING)}; pip install {names}, or make gpu PYTHON=.venv/bin/python")
