"""The report in a real browser: no complaint, no request, and the slider shows each report's samples."""

from __future__ import annotations

import pytest

from gansweep.report.html import write_report
from tests.browser import opened


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    return write_report(finished, tmp_path_factory.mktemp("page") / "report.html")


def check_drawn(shown, width):
    shown.wait_for_selector("html[data-charts=drawn]", timeout=240_000)
    assert shown.locator(".js-plotly-plot").count() >= 8
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


def test_the_charts_are_drawn_on_a_telephone_in_the_dark(page):
    with opened(page, width=390, dark=True) as shown:
        check_drawn(shown, 390)


@pytest.mark.slow
def test_the_slider_goes_through_the_reports_with_the_keyboard(page):
    with opened(page) as shown:
        check_drawn(shown, 1280)
        figure = shown.locator(".growth").first
        pictures = figure.locator("img")
        assert pictures.count() == 4

        def visible():
            return [index for index in range(4) if pictures.nth(index).is_visible()]

        assert (visible(), figure.locator("output").inner_text()) == ([3], "400")
        figure.locator("input").press("ArrowLeft")
        assert (visible(), figure.locator("output").inner_text()) == ([2], "300")
        figure.locator("input").press("Home")
        assert (visible(), figure.locator("output").inner_text()) == ([0], "100")
