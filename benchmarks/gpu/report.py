"""The JSON file and the Markdown table."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CPU_NOTE", "markdown", "write"]

CPU_NOTE = "CPU, tiny sizes: no figure of a GPU"


def write(found: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes `gpu.json` and `gpu.md` into `folder`, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json = folder / "gpu.json"
    as_markdown = folder / "gpu.md"
    as_json.write_text(json.dumps(_finite(found), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    as_markdown.write_text(markdown(found), encoding="utf-8")
    return as_json, as_markdown


def markdown(found: dict[str, Any]) -> str:
    """Everything in one table, a row for each figure, and one for each section without."""
    machine = found["machine"]
    described = ", ".join(f"{name} {value}" for name, value in machine.items() if value)
    lines = [f"{described}; {found['seconds']:.0f} s in all."]
    if found["note"]:
        lines.append(f"**{found['note']}.**")
    lines += ["", "| Section | What | Figure | Unit | Note |", "|---|---|---|---|---|"]
    for section in found["sections"]:
        if section["status"] != "measured":
            lines.append(_row(section["name"], "", section["status"], "", section["reason"]))
        for row in section["rows"]:
            lines.append(_row(section["name"], row["what"], _figure(row["value"]), row["unit"], row["note"]))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _figure(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
