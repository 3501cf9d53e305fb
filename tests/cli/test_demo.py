"""Where the demo may write, and what it leaves alone."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from gansweep.cli.demo import demo
from gansweep.errors import CohortError


@pytest.fixture
def began():
    """The commands of demos that run none of them."""
    return []


@pytest.fixture
def context(began, monkeypatch):
    """What typer hands to the demo: its root command runs the others."""
    monkeypatch.setattr("gansweep.search.cluster.ray_cluster", nullcontext)
    monkeypatch.setattr("gansweep.cli.demo._answer", lambda _out: "There is no store without the commands.")
    root = SimpleNamespace(command=SimpleNamespace(main=lambda words, **_: began.append(words[0])))
    return SimpleNamespace(find_root=lambda: root)


@pytest.mark.parametrize(
    "content",
    [b"cd a; ls\n", b"", b"gansweep phantom scans\nrm -r scans\n", b"gansweep sweep smoke\n", b"\xff\xfe"],
)
def test_a_folder_of_ones_own_is_refused_and_kept(began, context, tmp_path, content):
    (tmp_path / "commands.txt").write_bytes(content)
    (tmp_path / "scans").mkdir()
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(CohortError, match="is no demo's folder; choose another with --out"):
        demo(context, out=tmp_path)
    assert began == []
    assert {path.name for path in tmp_path.iterdir()} == {"commands.txt", "scans", "thesis.doc"}


def test_a_demo_takes_the_place_of_an_earlier_one_and_of_nothing_else(began, context, tmp_path):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "demo"
    demo(context, out=out)
    for folder in (elsewhere, out / "scans", out / "runs" / "demo", out / "runs" / "mine", out / "notes"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("kept?")
    (out / "report.html").write_text("old")
    (out / "thesis.doc").write_text("precious")
    (out / "best").symlink_to(elsewhere, target_is_directory=True)
    demo(context, out=out)
    assert began.count("phantom") == 2
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert left == {"commands.txt", "thesis.doc", "notes/file", "runs/mine/file"}
    assert (elsewhere / "file").read_text() == "kept?"
    assert not (out / "best").is_symlink()


def test_the_commands_write_nothing_that_a_later_demo_leaves(context, tmp_path):
    demo(context, out=tmp_path / "demo")
    text = (tmp_path / "demo" / "commands.txt").read_text()
    names = {word.partition(f"{tmp_path}/demo/")[2] for word in text.split() if f"{tmp_path}/demo/" in word}
    assert names == {"scans", "cohort", "runs", "runs/demo", "report.html", "picture.png", "best", "synthetic"}
