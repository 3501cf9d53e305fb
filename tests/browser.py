"""A real browser for the pages that people open: Debian's chromium, driven by playwright."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

__all__ = ["opened"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def opened(page: Path, *, width: int = 1280, dark: bool = False) -> Iterator[Page]:
    """A file as a page of `width` pixels. When it closes, no console error and no request must have been seen."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    complaints: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
            has_touch=width < 600,
        )
        context.set_default_timeout(120_000)  # ms; a busy machine
        shown = context.new_page()
        # What a driver says of its own speed is no complaint about the page.
        shown.on(
            "console",
            lambda line: (
                complaints.append(line.text)
                if line.type in ("error", "warning") and "GL Driver Message" not in line.text
                else None
            ),
        )
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on(
            "request",
            lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else complaints.append(asked.url),
        )
        shown.goto(page.absolute().as_uri())
        try:
            yield shown
        finally:
            browser.close()
    assert complaints == []
