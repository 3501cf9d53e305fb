"""What stands on the ground floor: here, which modules came from a folder."""

import importlib
import sys
from pathlib import Path

import pytest

from gansweep.files import modules_in


def test_modules_of_a_folder_are_found_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    (folder / "below").mkdir(parents=True)
    (folder / "gansweep_test_beside.py").write_text("")
    (folder / "below" / "gansweep_test_below.py").write_text("")
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.syspath_prepend(str(link))
    monkeypatch.syspath_prepend(str(folder / "below"))
    names = ("gansweep_test_beside", "gansweep_test_below")
    beside, below = [importlib.import_module(name) for name in names]
    try:
        assert modules_in(folder) == modules_in(link) == [beside]
        assert modules_in(folder / "below") == [below]
        assert modules_in(tmp_path) == []
    finally:
        for name in names:
            del sys.modules[name]
