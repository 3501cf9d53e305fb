"""`gansweep reader-study` from a cohort and a folder of synthetic images to a table of readers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from gansweep.cli import main
from gansweep.report.reader_study import Key


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folders of real and synthetic pictures of two classes, 16 pixels."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for kind in ("real", "fake"):
        rows = ["path,label"]
        (root / kind).mkdir()
        for number in range(24):
            Image.fromarray(random.integers(0, 255, (16, 16), dtype=np.uint8)).save(root / kind / f"{number}.png")
            rows.append(f"{number}.png,{'fahr' if number % 2 else 'control'}")
        (root / kind / "labels.csv").write_text("\n".join(rows))
    return root


def made(pictures, out, *words):
    return main(["reader-study", str(pictures / "real"), str(pictures / "fake"), f"--out={out}", "--size=16", *words])


def answer(out, name, right):
    """A file of answers, `right(number)` of which are right."""
    key = Key.model_validate_json((out / "key.json").read_bytes())
    other = {"real": "synthetic", "synthetic": "real"}
    given = {n: item.kind if right(n) else other[item.kind] for n, item in enumerate(key.items, start=1)}
    path = out / f"{name}.json"
    path.write_text(json.dumps({"study": key.study, "reader": name, "answers": given}))
    return str(path)


def test_half_of_each_class_is_real_and_the_page_does_not_say_which(pictures, tmp_path, capfd):
    assert made(pictures, tmp_path / "study", "--images=20", "--seed=3") == 0
    key = Key.model_validate_json((tmp_path / "study" / "key.json").read_bytes())
    counts = dict.fromkeys([("real", "control"), ("real", "fahr"), ("synthetic", "control"), ("synthetic", "fahr")], 0)
    for item in key.items:
        counts[item.kind, item.label] += 1
    assert set(counts.values()) == {5}
    page = (tmp_path / "study" / "for-readers" / "study.html").read_text()
    assert page.count("data:image/png;base64,") == 20
    assert "fahr" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "next: gansweep reader-study score" in capfd.readouterr().out
    assert [path.name for path in (tmp_path / "study" / "for-readers").iterdir()] == ["study.html"]


def test_the_order_is_not_the_same_each_time_unless_a_seed_is_given(pictures, tmp_path):
    for name, words in {"a": ["--seed=1"], "b": ["--seed=1"], "c": ["--seed=2"], "d": [], "e": []}.items():
        assert made(pictures, tmp_path / name, "--images=40", *words) == 0
    keys = {name: Key.model_validate_json((tmp_path / name / "key.json").read_bytes()) for name in "abcde"}
    assert keys["a"] == keys["b"]
    assert keys["a"].items != keys["c"].items
    assert keys["d"].items != keys["e"].items


def test_perfect_and_random_readers_are_scored(pictures, tmp_path, capfd):
    out = tmp_path / "study"
    assert made(pictures, out, "--images=40", "--seed=0") == 0
    random = np.random.default_rng(0).random(41) < 0.5
    files = [answer(out, "perfect", lambda _: True), answer(out, "guessing", lambda number: bool(random[number]))]
    capfd.readouterr()
    assert main(["reader-study", "score", str(out / "key.json"), *files, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    guessing, perfect = found["readers"]
    assert (perfect["accuracy"]["right"], perfect["accuracy"]["n"]) == (40, 40)
    assert perfect["accuracy"]["high"] == 1.0
    assert perfect["accuracy"]["low"] == pytest.approx(0.025 ** (1 / 40))  # Clopper and Pearson's for n of n
    assert perfect["verdict"] == "tells them apart"
    assert {name: part["n"] for name, part in perfect["classes"].items()} == {"control": 20, "fahr": 20}
    assert guessing["accuracy"]["low"] < 0.5 < guessing["accuracy"]["high"]
    assert guessing["verdict"] == "no evidence against guessing"
    assert found["agreement"]["kind"] == "Cohen's kappa"
    assert main(["reader-study", "score", str(out / "key.json"), *files]) == 0
    assert "100.0 (91.2 to 100.0)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "is not a file of answers that the study's page saved"),
        ('{"study": "other", "reader": "a", "answers": {"1": "real"}}', "answers study other, the key is of"),
        ('{"study": "STUDY", "reader": "a", "answers": {"99": "real"}}', "answers image 99 of 8"),
        ('{"study": "STUDY", "reader": "a", "answers": {"1": "maybe"}}', "is not a file of answers"),
        ('{"study": "STUDY", "reader": "a", "answers": {"1": "real", "01": "synthetic"}}', "is not a file of answers"),
        ('{"study": "STUDY", "reader": "a", "answers": {"1": "real", "1": "synthetic"}}', "is not a file of answers"),
        *(
            (
                f'{{"study": "STUDY", "reader": "a", "answers": {{"1": "real", "{key}": "synthetic"}}}}',
                "is not a file of",
            )
            for key in (" 2", "+2", "2.0", "02", "0_2", "\u0662", "-2")
        ),
        (
            '{"study": "STUDY", "reader": "  \\u200b", "answers": {"1": "real"}}',
            "json: its reader has no name; write one",
        ),
        ('{"study": "STUDY", "reader": "a", "answers": {}}', "'a' answered no image; leave the file out"),
    ],
)
def test_answers_that_cannot_be_scored(pictures, tmp_path, capfd, content, line):
    out = tmp_path / "study"
    made(pictures, out, "--images=8", "--seed=0")
    key = Key.model_validate_json((out / "key.json").read_bytes())
    (tmp_path / "answers.json").write_text(content.replace("STUDY", key.study))
    capfd.readouterr()
    assert main(["reader-study", "score", str(out / "key.json"), str(tmp_path / "answers.json")]) == 2
    assert line in capfd.readouterr().err


def test_two_files_of_one_reader_are_refused(pictures, tmp_path, capfd):
    out = tmp_path / "study"
    made(pictures, out, "--images=8", "--seed=0")
    file = answer(out, "a", lambda _: True)
    assert main(["reader-study", "score", str(out / "key.json"), file, file]) == 2
    assert "a second file of 'a'; give one file for each reader" in capfd.readouterr().err


@pytest.mark.parametrize("other", ["A ", " a", "A", "a\u200b", "\uff41"])
def test_two_spellings_of_one_reader_are_one_reader(pictures, tmp_path, capfd, other):
    out = tmp_path / "study"
    made(pictures, out, "--images=8", "--seed=0")
    files = [answer(out, "a", lambda _: True), answer(out, other, lambda _: True)]
    capfd.readouterr()
    assert main(["reader-study", "score", str(out / "key.json"), *files]) == 2
    line = capfd.readouterr().err
    assert f"a second file of 'a', written {other!r}; give one file for each reader, and each a name" in line
    assert line.count("\n") == 1


def test_names_of_readers_and_classes_do_not_steer_the_terminal(pictures, tmp_path, capfd):
    out = tmp_path / "study"
    made(pictures, out, "--images=8", "--seed=0")
    hostile = "\x1b[31mx\u202ey\x9bz"
    key = json.loads((out / "key.json").read_text())
    key["items"] = [{**item, "label": hostile} for item in key["items"]]
    (out / "key.json").write_text(json.dumps(key))
    given = {"study": key["study"], "reader": hostile, "answers": {"1": "real"}}
    (out / "answers.json").write_text(json.dumps(given))
    capfd.readouterr()
    for words in ([], ["--json"]):
        assert main(["reader-study", "score", str(out / "key.json"), str(out / "answers.json"), *words]) == 0
        shown = capfd.readouterr().out
        assert not set(shown) & {"\x1b", "\u202e", "\x9b"}
    found = json.loads(shown)
    assert found["readers"][0]["reader"] == hostile, "a program reads the name as it is"
    assert list(found["readers"][0]["classes"]) == [hostile]


def test_the_help_of_both_verbs(capfd):
    for words, option in ((["make"], "--images"), (["score"], "--json")):
        assert main(["reader-study", *words, "--help"]) == 0
        assert option in capfd.readouterr().out
