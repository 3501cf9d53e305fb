"""The page of a reader study in a real browser: keys, touch, reloads, and the file of answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.report import reader_study
from gansweep.report.reader_scores import score_study
from gansweep.report.reader_study import Item, Key
from tests.browser import opened


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A page of six images, and its key."""
    out = tmp_path_factory.mktemp("study")
    images = ImageSet(torch.rand(6, 1, 16, 16) * 2 - 1, torch.zeros(6, dtype=torch.long))
    pictures = [reader_study._png(images, row) for row in range(6)]
    (out / "study.html").write_text(reader_study._page("abc123", pictures), encoding="utf-8")
    items = tuple(Item(kind=kind, label="fahr") for kind in ("real", "synthetic") * 3)
    (out / "key.json").write_text(Key(study="abc123", items=items, seed=0).model_dump_json())
    return out


def begin(page, name):
    page.fill("#reader", name)
    page.press("#reader", "Enter")


def where(page):
    return page.inner_text("#where")


def test_a_reader_answers_with_keys_goes_back_and_saves_a_file_that_is_scored(study, tmp_path):
    with opened(study / "study.html") as page:
        begin(page, "Reader 1")
        assert where(page) == "Image 1 of 6, 0 answered"
        for key in "rsrs":
            page.keyboard.press(key)
        assert where(page) == "Image 5 of 6, 4 answered"
        page.keyboard.press("ArrowLeft")
        assert page.get_attribute("#synthetic", "aria-pressed") == "true"
        page.keyboard.press("r")  # a second thought about image 4
        assert where(page) == "Image 5 of 6, 4 answered"
        page.keyboard.press("r")
        assert page.is_hidden("#finished")
        page.keyboard.press("s")
        assert page.is_visible("#finished")
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "answers-abc123-Reader-1.json"
        download.value.save_as(tmp_path / "answers.json")
    saved = json.loads((tmp_path / "answers.json").read_text())
    assert saved["answers"] == dict(
        zip("123456", ["real", "synthetic", "real", "real", "real", "synthetic"], strict=True)
    )
    (scored,) = score_study(study / "key.json", [tmp_path / "answers.json"]).readers
    assert (scored.reader, scored.accuracy.right, scored.accuracy.n) == ("Reader 1", 5, 6)


def test_answers_outlast_a_reload_and_belong_to_their_reader(study):
    with opened(study / "study.html") as page:
        begin(page, "one")
        page.keyboard.press("r")
        page.keyboard.press("s")
        page.reload()
        assert page.input_value("#reader") == "one"
        begin(page, "one")
        assert where(page) == "Image 3 of 6, 2 answered"
        page.keyboard.press("ArrowLeft")
        assert page.get_attribute("#synthetic", "aria-pressed") == "true"
        page.reload()
        begin(page, "two")
        assert where(page) == "Image 1 of 6, 0 answered"


def test_on_a_phone_the_buttons_fit_and_answer_to_a_finger(study):
    with opened(study / "study.html", width=390) as page:
        begin(page, "phone")
        page.tap("#synthetic")
        assert where(page) == "Image 2 of 6, 1 answered"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for name in ("real", "synthetic", "back", "next"):
            box = page.locator(f"#{name}").bounding_box()
            assert box["height"] >= 44
            assert box["y"] + box["height"] <= 844


def test_each_image_of_the_page_is_the_one_of_that_number(study):
    with opened(study / "study.html") as page:
        begin(page, "order")
        shown = []
        for _ in range(6):
            shown.append(page.get_attribute("#image", "src"))
            page.keyboard.press("ArrowRight")
        listed = page.evaluate("IMAGES")
    assert shown == listed
    assert len(set(np.array(shown))) == 6
