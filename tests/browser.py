"""A headless Chromium for tests of the results page, which notes what a page says, breaks and asks for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
"""Containers have neither user namespaces nor a GPU."""


@dataclass
class Opened:
    """A page with all that it wrote to the console, all errors and dialogs, and every address that it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true. (The page's policy forbids Playwright's own way.)"""
        end = time.monotonic() + 10
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def counts(self) -> int:
        """Return how many items the list says it has."""
        self.page.wait_for_selector(".list[aria-busy=false]")
        return int(self.page.inner_text(".status").split()[0].replace(",", ""))

    def rows(self) -> list[str]:
        """Return the ids of the items that are listed."""
        self.page.wait_for_selector(".list[aria-busy=false]")
        return self.page.locator(".list .row .id").all_text_contents()

    def choose(self, name: str) -> int:
        """Press a filter, and return how many items there are then."""
        self.page.click(f"[data-filter={name}]")
        self.page.wait_for_selector(f"[data-filter={name}][aria-pressed=true]")
        return self.counts()

    @property
    def wide(self) -> int:
        """By how many pixels the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width


class Opener:
    """Opens pages, each in a fresh profile of the browser."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.opened: list[Opened] = []

    def __call__(self, where: str | Path, width: int = 1280, height: int = 900, **settings: Any) -> Opened:
        context = self.browser.new_context(**{"locale": "en-GB", "viewport": {"width": width, "height": height}, **settings})
        page = context.new_page()
        page.set_default_timeout(15_000)
        opened = Opened(page)
        page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (opened.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: opened.asked.append(request.url))
        page.goto(where if isinstance(where, str) else where.resolve().as_uri())
        page.wait_for_selector("main")
        self.opened.append(opened)
        return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's tests need: pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("the browser's tests need chromium: apt-get install chromium fonts-noto-cjk")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser) -> Iterator[Opener]:
    """Open files and addresses; at the end no page may have complained, or asked for anything but itself."""
    opener = Opener(browser)
    yield opener
    for opened in opener.opened:
        assert opened.said == []
        home = opened.page.url.split("#")[0]
        away = [address for address in opened.asked if not address.startswith((home, "data:"))]
        assert away == []
        opened.page.context.close()
