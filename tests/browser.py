"""A headless Chromium for tests of the results page, which notes what a page says, breaks and asks for; a small run's page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocli.runs import Run
from ocli.stages.html import to_html
from ocli.stages.report import summarise

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
"""Containers have neither user namespaces nor a GPU."""


EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> [bold red]x[/] </script><!-- 答案是 B"
TASK = """
description: Sums with <b>four</b> options
data: {local: ./sums.csv, subsets: [plus, minus], where: kind == subset, fields: {target: answer}}
prompt: sums
choices: "['A', 'B', 'C', 'D']"
score:
  - {extract: choice, metric: accuracy}
  - {name: capital, extract: first_capital, metric: accuracy}
"""
PROMPT = """{% block system %}You answer with a letter.{% endblock %}
{% block user %}{{ question }}
A. {{ A }} B. {{ B }} C. {{ C }} D. {{ D }}
Answer: {% endblock %}
{% block assistant %}{{ target }}{% endblock %}
"""
ROWS = [
    f"{kind},What is {n} {sign} 1?,{n},{n + 1},{n - 1},{n + 2},{'B' if kind == 'plus' else 'C'}"
    for kind, sign in (("plus", "+"), ("minus", "-"))
    for n in range(2, 8)
]
SMALL = [  # what model "small" says to the twelve questions; B is right six times, then C
    "The answer is B", EVIL, "I think B", "A", "The answer is D", "",
    "The answer is C", "C", "A", "B", "no idea at all", "C",
]  # fmt: skip
LARGE = ["The answer is B"] * 6 + ["The answer is C"] * 4 + ["D"]  # and no reply to the last question


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


def reply(number: int, text: str, **more: Any) -> str:
    kind = ("plus", "minus")[number // 6]
    told = {"id": f"{kind}/{number}", "text": text, "usage": {"prompt": 40, "cached": None, "completion": 5 + number}, **more}
    return json.dumps(told, ensure_ascii=False)


def evaluate(place: Path, *arguments: object) -> Path:
    """Run ``ocli eval`` in a process of its own (the browser's loop runs in this one), and return the report's file."""
    command = [sys.executable, "-m", "ocli", "eval", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: some items failed, as they are meant to
    [run] = [line.removeprefix("run: ") for line in done.stderr.splitlines() if line.startswith("run: ")]
    report = place / "report.html"
    report.write_text(to_html(summarise(Run(place / run))), encoding="utf-8")
    return report


def sums(place: Path, task: str) -> Path:
    """Write twelve questions in two subsets, their prompt and their task."""
    (place / "sums.csv").write_text("\n".join(["kind,question,A,B,C,D,answer", *ROWS]), encoding="utf-8")
    (place / "prompts").mkdir()
    (place / "prompts" / "sums.jinja").write_text(PROMPT, encoding="utf-8")
    (place / "sums.yaml").write_text(task, encoding="utf-8")
    return place / "sums.yaml"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of two models' recorded replies to the twelve questions."""
    place = tmp_path_factory.mktemp("page")
    task = sums(place, TASK)
    small = [reply(n, text, reasoning="First I add.\nThen I look." if n == 0 else None) for n, text in enumerate(SMALL)]
    small[3] = reply(3, "A", finish_reason="length")
    small[10] = reply(10, SMALL[10], finish_reason="length")  # cut off before its answer: truncated and unanswered
    for name, lines in (("small", small), ("large", [reply(n, text) for n, text in enumerate(LARGE)])):
        (place / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        price = "price: {input: 1, output: 2, currency: USD}"
        (place / f"{name}.yaml").write_text(f"engine: replay\npath: ./{name}.jsonl\n{price}\n", encoding="utf-8")
    return evaluate(place, "-m", place / "small.yaml", "-m", place / "large.yaml", "-t", task)


def task_page(show: Opener, report: Path, route: str = "", **settings: Any) -> Opened:
    opened = show(f"{report.resolve().as_uri()}#task=sums{route}", **settings)
    opened.page.wait_for_selector(".list[aria-busy=false]")
    return opened
