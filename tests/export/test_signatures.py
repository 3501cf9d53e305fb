"""No function of the command line or of exports takes more than eight parameters."""

import ast
from pathlib import Path

import pytest

ROOMS = [Path(__file__).parents[2] / "platform" / "gansweep" / room for room in ("cli", "export")]
MOST = 8


@pytest.mark.parametrize(
    "path", [path for room in ROOMS for path in sorted(room.glob("*.py"))], ids=lambda path: path.stem
)
def test_functions_take_few_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len(names) <= MOST, f"{node.name}: {names}"
