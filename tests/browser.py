"""Pages in headless Chromium: what covers what, what is struck by a line, what is too small, too faint or outside of the window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open pages with: apt-get install chromium")

MEASURED = Path(__file__).with_name("measured.js").read_text()


@contextmanager
def chromium() -> Iterator[object]:
    """A browser of Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, path: Path, width: int = 1280, scheme: str = "light", **options) -> Iterator[object]:
    """A page in a window of this width; an error in its scripts, or a request to anywhere else, fails."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(path.resolve().as_uri())
    page.wait_for_function("!document.querySelector('.tools[hidden]')") if options.get("java_script_enabled", True) else None
    yield page
    assert not wrong, wrong
    context.close()


def open_all(page) -> None:
    """Open every part of the page, and wait for its tables."""
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.wait_for_function("!document.querySelector('details[open] .long > script')")


def measured(page) -> dict:
    """Sizes, and everything that is wrong with the boxes of a page, each in words."""
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": min(height + 50, 30_000)})
    page.wait_for_timeout(50)
    return page.evaluate(MEASURED)
