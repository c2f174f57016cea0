"""The results page in a real browser: what it shows of a real run, and what model output cannot do there."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import EVIL, TASK, Opener, browser, evaluate, report, show, sums, task_page

from ocli.stages.page import WEB, render

__all__ = ["browser", "report", "show"]

COUNTS = {  # by filter: any model, small, large
    "all": (12, 12, 12),
    "right": (11, 6, 10),
    "wrong": (6, 6, 1),
    "unanswered": (2, 2, 0),
    "truncated": (2, 2, 0),
    "failed": (1, 0, 1),
    "differ": (6, 6, 6),
}


def test_table_has_scores_intervals_best_and_what_went_wrong(report: Path, show: Opener) -> None:
    page = show(report).page
    cells = page.locator("table.scores tbody.task td")
    small, large = (re.sub(r"\s+", " ", text) for text in cells.all_inner_texts())
    assert small.startswith("50.00")
    assert large.startswith("90.00")
    assert re.search(r"\d+\.\d–\d+\.\d · n 12", small)
    assert "16.7 % unanswered" in small
    assert "8.3 % failed" in large
    assert cells.nth(1).get_attribute("class") == "best close"
    assert page.locator("tbody.parts").is_hidden()
    page.click("button.fold")
    parts = page.locator("tbody.parts th").evaluate_all("(nodes) => nodes.map((node) => node.firstChild.textContent)")
    assert parts == ["plus", "minus", "accuracy_micro", "capital", "capital_micro"]
    page.locator(".badge.failed").first.click()
    page.wait_for_selector(".list .row")
    assert "filter=failed" in page.url
    assert "model=large" in page.url


def test_charts_are_drawn_and_fit_their_place(report: Path, show: Opener) -> None:
    opened = show(report)
    page = opened.page
    page.wait_for_selector("svg.plot")
    charts = page.locator("section.chart")
    assert charts.locator("h3").all_inner_texts() == ["Scores by task", "Score and what it takes", "Scores by subset"]
    bars = page.locator("svg.plot [aria-label=bar] rect")
    assert bars.count() == 2 + 4
    widths = [float(bars.nth(place).get_attribute("width") or 0) for place in range(2)]
    assert widths[0] / widths[1] == pytest.approx(50 / 90, abs=0.01)
    assert page.locator("svg.plot [aria-label=rule]").count() >= 2
    assert page.locator("svg.plot [aria-label=dot] circle").count() == 2
    page.locator("svg.plot").first.hover(position={"x": 200, "y": 20})
    page.wait_for_selector("svg.plot [aria-label=tip] text")
    page.set_viewport_size({"width": 700, "height": 900})
    opened.until("[...document.querySelectorAll('svg.plot')].every((svg) => svg.getBoundingClientRect().right < innerWidth)")
    assert opened.wide == 0


@pytest.mark.parametrize("name", COUNTS)
def test_each_filter_gives_its_items_of_any_model_and_of_one(name: str, report: Path, show: Opener) -> None:
    opened = task_page(show, report)
    anyone, *each = COUNTS[name]
    assert opened.choose(name) == anyone
    assert len(opened.rows()) == anyone
    opened.until("[...document.querySelectorAll('[data-filter] small')].every((node) => node.textContent.trim())")
    said = opened.page.locator("[data-filter] small").all_inner_texts()
    assert [int(text) for text in said] == [counts[0] for counts in COUNTS.values()]
    for model, wanted in zip(("small", "large"), each, strict=True):
        opened.page.get_by_label("Model", exact=True).select_option(model)
        opened.until(f"location.hash.includes('model={model}')")
        assert opened.counts() == wanted


def test_subset_and_search_narrow_the_list_and_the_address_keeps_them(report: Path, show: Opener) -> None:
    opened = task_page(show, report)
    page = opened.page
    page.get_by_label("Subset").select_option("minus")
    opened.until("location.hash.includes('subset=minus')")
    assert opened.counts() == 6
    page.keyboard.press("/")
    page.keyboard.type("no IDEA")
    opened.until("location.hash.includes('q=')")
    assert opened.rows() == ["minus/10"]
    page.fill("input[type=search]", "what is 5 -")
    opened.until("document.querySelector('.list .id').textContent === 'minus/9'")
    page.reload()
    page.wait_for_selector(".list[aria-busy=false]")
    assert opened.rows() == ["minus/9"]
    assert page.input_value("input[type=search]") == "what is 5 -"
    page.go_back()
    opened.until("!location.hash.includes('subset')")
    assert opened.counts() == 12


def test_an_item_opens_with_its_turns_replies_and_scores(report: Path, show: Opener) -> None:
    opened = task_page(show, report)
    page = opened.page
    page.click(".list .row >> nth=0")
    pane = page.locator(".pane")
    pane.locator("article").first.wait_for()
    assert pane.locator(".turn .role").all_inner_texts() == ["system", "user"]
    assert "What is 2 + 1?" in pane.locator(".turn.user pre").inner_text()
    small, large = pane.locator("article").all()
    assert "right" in small.inner_text()
    assert small.locator("pre.text").inner_text() == "The answer is B"
    assert not small.locator("pre.reasoning").is_visible()
    small.get_by_text("Reasoning").click()
    assert small.locator("pre.reasoning").inner_text() == "First I add.\nThen I look."
    assert "40 in, 5 out" in large.inner_text()
    assert "capital" in large.inner_text()
    page.go_back()
    page.wait_for_selector(".pane", state="hidden")
    assert "id=" not in page.url


def test_failed_and_truncated_replies_say_so(report: Path, show: Opener) -> None:
    page = task_page(show, report, "&id=minus/11").page
    assert "the replay file has no reply for item minus/11" in page.locator(".pane .error").inner_text()
    page = task_page(show, report, "&id=plus/3").page
    assert page.locator(".pane .badge.truncated").inner_text() == "truncated"
    assert "length" in page.locator(".pane article").first.inner_text()


def test_keys_move_open_and_close(report: Path, show: Opener) -> None:
    opened = task_page(show, report)
    page = opened.page
    for key in ("j", "j", "ArrowDown", "k", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector(".pane h3:text-is('plus/1')")
    page.keyboard.press("j")
    page.wait_for_selector(".pane h3:text-is('plus/2')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".pane", state="hidden")
    page.keyboard.press("Escape")
    page.wait_for_selector("table.scores")


def test_model_output_is_text_and_runs_nothing(report: Path, show: Opener) -> None:
    assert "<script>alert" not in report.read_text(encoding="utf-8")
    opened = task_page(show, report, "&id=plus/1")
    page = opened.page
    assert page.locator(".pane article pre.text").first.inner_text() == EVIL
    assert page.locator("#app img, #app script").count() == 0
    assert page.locator(".lead").inner_text() == "Sums with <b>four</b> options"
    page.wait_for_timeout(300)
    assert opened.said == []


def test_policy_runs_no_script_of_others_and_takes_no_markup(report: Path, browser: Any) -> None:
    opened = Opener(browser)(report)
    page = opened.page
    with pytest.raises(Exception, match="TrustedScript"):
        page.evaluate("document.createElement('script').textContent = 'window.ran = 1'")
    assert (
        page.evaluate("(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch { return 'refused' } })()")
        == "refused"
    )
    assert page.evaluate("fetch('https://example.invalid/').then(() => 'asked', () => 'refused')") == "refused"
    page.context.close()


def test_language_is_the_readers_and_can_be_switched(report: Path, show: Opener) -> None:
    page = show(report, locale="zh-CN").page
    assert page.locator("h2").first.inner_text() == "结果"
    assert page.locator("tbody.capability th").inner_text() == "考试"
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.click("#language")
    assert page.locator("h2").first.inner_text() == "Results"
    page.reload()
    page.wait_for_selector("main")
    assert page.locator("h2").first.inner_text() == "Results"


def test_both_languages_have_the_same_words() -> None:
    text = (WEB / "words.js").read_text(encoding="utf-8")
    english, chinese = (re.findall(r'(\w+): "((?:[^"\\]|\\.)*)"', part) for part in text.split("  zh: {")[:2])
    chinese = chinese[: len(english)]
    assert [key for key, _ in english] == [key for key, _ in chinese]
    for (key, one), (_, other) in zip(english, chinese, strict=True):
        assert set(re.findall(r"\{\w+\}", one)) == set(re.findall(r"\{\w+\}", other)), key


def test_dark_follows_the_system_and_can_be_switched(report: Path, show: Opener) -> None:
    shade = (
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
    )
    page = show(report, color_scheme="dark").page
    assert page.evaluate(shade) < 120
    page.click("#theme")
    assert page.evaluate(shade) > 600
    page.reload()
    assert page.evaluate(shade) > 600
    assert show(report, color_scheme="light").page.evaluate(shade) > 600


@pytest.mark.parametrize("route", ["", "#task=sums", "#task=sums&id=plus/1", "#task=sums&filter=differ&id=minus/9"])
def test_nothing_is_wider_than_a_phone(route: str, report: Path, show: Opener) -> None:
    opened = show(report.resolve().as_uri() + route, width=360, height=740)
    opened.page.wait_for_timeout(300)
    assert opened.wide == 0


def test_conditions_show_what_differs(report: Path, show: Opener) -> None:
    page = show(report).page
    rows, differing = page.locator("table.conditions tbody tr:visible"), page.locator("table.conditions tr.differs").count()
    assert rows.count() == differing > 0
    page.get_by_role("button", name="further settings").click()
    assert rows.count() > differing + 3


def test_likelihoods_are_a_table_of_choices(tmp_path: Path, show: Opener) -> None:
    likelihoods = TASK.split("score:")[0] + "mode: loglikelihood\nscore:\n  - {metric: accuracy, by: sum}\n"
    report = evaluate(tmp_path, "-m", "echo", "-t", sums(tmp_path, likelihoods))
    page = task_page(show, report, "&id=plus/0").page
    table = page.locator("table.choices")
    table.wait_for()
    assert table.locator("tbody tr").count() == 4
    assert table.locator("tr.right").inner_text().startswith("B")
    assert table.locator(".preferred").count() == 1


def test_ceval_of_two_models(tmp_path: Path, shared_data: Path, show: Opener) -> None:
    models = ("-m", "echo:oracle", "-m", "echo")
    report = evaluate(tmp_path, *models, "-t", "ceval_gen", "--limit", 104, "--data-dir", shared_data)
    opened = show(report)
    page = opened.page
    page.wait_for_selector("svg.plot [aria-label=bar] rect")
    assert page.locator("tbody.task td").first.inner_text().startswith("100.00")
    page.get_by_role("button", name="Show all 52").click()
    assert page.locator("section.chart").last.locator("[aria-label=bar] rect").count() == 104
    page.click("table.scores tbody.task a")
    assert opened.counts() == 104
    assert opened.choose("differ") == 104
    page.click(".list .row >> nth=2")
    page.wait_for_selector(".pane article >> nth=1")
    folded = page.locator(".pane details").first
    assert folded.locator("summary").inner_text() == "10 earlier turns"
    assert not folded.locator("pre").first.is_visible()
    assert "以下是中国关于" in page.locator(".pane .turns > .turn.user pre").inner_text()


def test_vendored_scripts_are_those_that_the_readme_names() -> None:
    told = dict(re.findall(r"\| `(\S+\.js)` .*`([0-9a-f]{64})` \|", (WEB / "vendor" / "README.md").read_text(encoding="utf-8")))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (WEB / "vendor").glob("*.js")}
    assert found == told


def test_titles_and_task_names_are_escaped() -> None:
    html = render({"title": "<b>&\ud800", "models": []}, {'"><script>': b""})
    assert "<title>&lt;b&gt;&amp;? · ocli</title>" in html
    assert 'data-task="&#34;&gt;&lt;script&gt;"' in html
    assert "connect-src 'none'" in html.replace("&#39;", "'")


@pytest.fixture
def served(report: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of ``ocli view`` on a run of which the first five questions are answered, and the run."""
    [run] = [path.parent.parent for path in report.parent.glob("outputs/*/2*/configs/recipe.yaml")]
    mine = tmp_path / "run"
    shutil.copytree(run, mine)
    shutil.rmtree(mine / "results")
    for path in mine.glob("predictions/*/*.jsonl"):
        path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:5]), encoding="utf-8")
    command = [sys.executable, "-m", "ocli", "view", str(mine), "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().strip(), mine
        server.terminate()


def test_served_page_follows_a_run_until_it_is_scored(served: tuple[str, Path], report: Path, show: Opener) -> None:
    address, run = served
    opened = show(address)
    page = opened.page
    assert page.locator(".live").first.inner_text().endswith("not finished")
    assert "5 / 12" in page.locator("#progress").inner_text()
    page.click("table.scores tbody.task a")
    assert opened.counts() == 5
    assert opened.choose("right") == 5
    page.click(".list .row >> nth=1")
    assert page.locator(".pane article pre.text").first.inner_text() == EVIL
    page.click("a.back")
    [whole] = report.parent.glob("outputs/*/2*/configs/recipe.yaml")
    for path in whole.parents[1].glob("predictions/*/*.jsonl"):
        shutil.copy(path, run / path.relative_to(whole.parents[1]))
    opened.until("document.querySelector('#progress')?.innerText.includes('12 / 12')")
    shutil.copytree(whole.parents[1] / "results", run / "results")
    for path in run.glob("results/*/*.parquet"):
        path.touch()
    opened.until("!document.querySelector('.live')")
    assert page.locator("tbody.task td").first.inner_text().startswith("50.00")
    assert page.locator("tbody.task td").last.inner_text().startswith("90.00")


def test_a_long_list_has_pages(tmp_path: Path, show: Opener) -> None:
    report = evaluate(tmp_path, "-m", "echo:oracle", "-t", "quickstart")
    opened = show(f"{report.as_uri()}#task=quickstart", width=360)
    page = opened.page
    assert (opened.counts(), len(opened.rows())) == (200, 100)
    first = opened.rows()[0]
    page.get_by_role("button", name="Next ›").click()
    opened.until(f"document.querySelector('.list .id').textContent !== '{first}'")
    assert "from=100" in page.url
    page.fill(".pages input", "1")
    page.keyboard.press("Enter")
    opened.until(f"document.querySelector('.list .id').textContent === '{first}'")
    assert opened.wide == 0


def test_perplexities_are_lower_the_better_and_have_no_right_and_wrong(tmp_path: Path, show: Opener) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "texts.jinja").write_text("{% block user %}{{ text }}{% endblock %}", encoding="utf-8")
    texts = ['{"text": "The cat sat."}', '{"text": "春天来了。"}']
    (tmp_path / "texts.jsonl").write_text("\n".join(texts), encoding="utf-8")
    task = "data: {local: ./texts.jsonl}\nprompt: texts\nmode: perplexity\nscore:\n  - {metric: byte_perplexity}\n"
    (tmp_path / "texts.yaml").write_text(task, encoding="utf-8")
    page = show(f"{evaluate(tmp_path, '-m', 'echo', '-t', tmp_path / 'texts.yaml').as_uri()}").page
    assert "lower is better" in page.locator("tbody.task th").inner_text()
    page.click("table.scores tbody.task a")
    page.click(".list .row >> nth=0")
    assert page.locator("[data-filter=wrong]").count() == 0
    told = page.locator(".pane article")
    assert "The cat sat." in told.inner_text()
    logprob = float(page.locator("table.choices td.num").first.inner_text())
    shown = float(told.locator(".rule b").inner_text())
    assert shown == pytest.approx(math.exp(-logprob / len("The cat sat.")), abs=0.01)
