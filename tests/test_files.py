"""What stands on the ground floor: modules of a folder, files of tensors, and folders that replace others."""

import importlib
import io
import random
import sys
from pathlib import Path

import pytest
import torch

from gansweep import cache
from gansweep.errors import CohortError
from gansweep.files import modules_in, new_folder, read_tensors


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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_an_end_between_the_renamings_puts_the_earlier_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    out = tmp_path / "cohort"
    out.mkdir()
    (out / "mark").write_text("earlier")
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.suffix == ".part":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, CohortError)), new_folder(out, "cohort", replaces="mark") as folder:
        (folder / "mark").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    assert (out / "mark").read_text() == "earlier"


CONTENT = {"weights": torch.arange(200.0), "names": ["a", "b"]}


def test_a_bit_that_flips_in_a_file_of_tensors_is_damage(tmp_path: Path) -> None:
    """Wherever it is: what torch would read as another weight, and what makes it raise any error."""
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer)
    whole = buffer.getvalue()
    path = tmp_path / "kept.pt"
    draws = random.Random(0)
    unnoticed = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draws.randrange(len(damaged))] ^= 1 << draws.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read_tensors(io.BytesIO(damaged))
        except ValueError:
            assert cache.read(path) is None
        else:
            unnoticed += 1  # a date or the padding of the archive
            assert found.keys() == CONTENT.keys()
            assert torch.equal(found["weights"], CONTENT["weights"])
            assert found["names"] == CONTENT["names"]
    assert unnoticed < 200


def test_a_changed_weight_is_named() -> None:
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer)
    damaged = bytearray(buffer.getvalue())
    damaged[damaged.index(CONTENT["weights"].numpy().tobytes()) + 3] ^= 64  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="the checksum of 0 differs"):
        read_tensors(io.BytesIO(damaged))
