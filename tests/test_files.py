"""What stands on the ground floor: modules of a folder, files of tensors, and folders that replace others."""

import importlib
import io
import itertools
import os
import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from gansweep import cache, files
from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.files import expanded, modules_in, new_folder, output_file, read_tensors


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


def test_a_folder_inside_a_cohort_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next ingest replaces the cohort, and would delete what is in it."""
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    (cohort / "cohort.json").write_text("{}")
    monkeypatch.chdir(cohort)
    for out in (cohort / "x", cohort / "x" / "y", Path("x")):
        with (
            pytest.raises(CohortError, match=r"x.*: is inside the cohort .*cohort, which an ingest"),
            new_folder(out, "images"),
        ):
            pass
    assert [path.name for path in cohort.iterdir()] == ["cohort.json"]
    with new_folder(cohort, "cohort", replaces="cohort.json") as folder:
        (folder / "cohort.json").write_text("again")
    assert (tmp_path / "cohort" / "cohort.json").read_text() == "again"


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


def interrupted_at(count: int) -> Any:
    """Returns a function for `sys.settrace` that raises KeyboardInterrupt at a line of `files.py`, counted from 0."""
    lines = itertools.count()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line" and next(lines) == count:
            raise KeyboardInterrupt
        return trace

    return trace


def test_an_interrupt_at_any_line_leaves_no_folder_of_images(tmp_path: Path) -> None:
    before = sys.gettrace()
    for count in itertools.count():
        sys.settrace(interrupted_at(count))
        try:
            with new_folder(tmp_path / "cohort", "cohort"):
                sys.settrace(before)
                break
        except KeyboardInterrupt:
            assert list(tmp_path.iterdir()) == []
        finally:
            sys.settrace(before)
    assert count > 10


def test_an_unwritable_parent_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    # Root may enter every folder, so the folder cannot be made inaccessible for real.
    monkeypatch.setattr(Path, "exists", refused)
    said = r"/out: cannot write here: Permission denied; choose a writable folder$"
    with pytest.raises(CohortError, match=said), new_folder(tmp_path / "out", "cohort"):
        pass


def test_what_a_killed_run_left_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".scan[1].0a1b2c3d.part", ".scan[1].0a1b2c3d.old", ".scan1.0a1b2c3d.part", ".scan[1].png"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        with new_folder(tmp_path / "scan[1]", "cohort", replaces="mark") as folder:
            (folder / "mark").touch()
    told = [message.removeprefix(f"{tmp_path}/.scan[1].0a1b2c3d") for message in caplog.messages]
    left = " is left by a run that was killed: delete it, unless another run is writing it"
    earlier = ".old is the earlier cohort, left by a run that was killed: rename it to keep it"
    assert told == [earlier, f".part{left}", f".old{left}", f".part{left}"]


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


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html></html>", b"\xef\xbb\xbf\n<HTML>"])
def test_an_earlier_page_may_be_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.html").write_bytes(content)
    assert output_file(tmp_path / "page.html", "HTML page", reads=tmp_path / "runs", example="r.html").is_file()


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    inside = tmp_path / "store"
    (inside / "trials").mkdir(parents=True)
    (inside / "sweep.json").write_text("{}")
    (inside / "old.html").write_text("<html>")
    (tmp_path / "link").symlink_to(inside)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "page.html").write_text("<html>")
    os.mkfifo(tmp_path / "pipe")
    for name in ("store/sweep.json", "store/new.html", "store/old.html", "link/new.html", "store/trials/a.parquet"):
        with pytest.raises(
            ConfigError, match=f"{name}: lies in .*store, which is read and stays as it is; write it else"
        ):
            output_file(tmp_path / name, "HTML page", reads=inside, example="r.html")
    for name, kind in (("store/sweep.json", "HTML page"), ("pipe", "HTML page"), ("page.html", "PNG")):
        with pytest.raises(ConfigError, match=f"{name}: exists and is no {kind}, so it is not replaced; name another"):
            output_file(tmp_path / name, kind, reads=None, example="r.html")
    with pytest.raises(StoreError, match=r"is a folder; give a file name such as r\.html"):
        output_file(tmp_path, "PNG", reads=None, example="r.html", error=StoreError)
    with pytest.raises(ConfigError, match="cannot write here: File name too long; name another file"):
        output_file(tmp_path / ("x" * 300), "PNG", reads=None, example="r.html")
    assert output_file(tmp_path / "loop", "PNG", reads=inside, example="r.png") == tmp_path / "loop"
    assert (inside / "sweep.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("name", "kind"), [("r.pdf", "HTML page"), ("r.PNG", "HTML page"), ("r.html", "PNG"), ("r.svg", "PNG")]
)
def test_a_suffix_of_another_format_is_refused(tmp_path: Path, name: str, kind: Any) -> None:
    suffix = name.partition(".")[2]
    with pytest.raises(ConfigError, match=rf"the result is no \.{suffix} file; name it like example"):
        output_file(tmp_path / name, kind, reads=None, example="example")
    for usual in ("r", "r.2026-11-30", "r.HTM" if kind == "HTML page" else "r.PNG"):
        assert output_file(tmp_path / usual, kind, reads=None, example="example").name == usual


def test_a_user_who_does_not_exist_is_named() -> None:
    with pytest.raises(StoreError, match=r"^~nosuchuser/x: there is no such user; write out the path$"):
        expanded("~nosuchuser/x", StoreError)


def test_a_folder_in_the_place_of_a_cached_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "encoder.pt").mkdir()
    assert cache.read(tmp_path / "encoder.pt") is None
    with pytest.raises(StoreError, match=r"encoder\.pt: a folder is where a cached file belongs; move it away"):
        cache.write(tmp_path / "encoder.pt", 1)
