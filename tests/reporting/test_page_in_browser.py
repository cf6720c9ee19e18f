"""The report in a real browser, opened from the disk: all samples, filters, no request, no script of the corpus."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from solon.errors import RunError
from solon.reporting import write
from solon.reporting.content import content_of
from solon.reporting.page import files_of, render_content
from solon.reporting.sample_files import write_chunks
from tests.reporting.test_page import HOSTILE
from tests.synthetic import Plan, build

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
SHOWN = "document.getElementById('shown').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page opened from the disk, and everything that it asked for or complained about."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 860})
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        before = time.monotonic()
        self.page.goto(path.as_uri())
        self.until(bool)
        self.seconds = time.monotonic() - before

    def seen(self, words: str) -> str:
        """Wait until the line about the samples shows the words; returns it."""
        return self.until(lambda shown: words in shown)

    def until(self, fits: Callable[[str], bool]) -> str:
        """Wait until the line about the samples is as wanted; the page's policy forbids `wait_for_function`."""
        end = time.monotonic() + 30
        while not fits(shown := str(self.page.evaluate(SHOWN))):
            assert time.monotonic() < end, shown
            time.sleep(0.02)
        return shown

    def choose(self, name: str, value: str) -> None:
        self.page.select_option(f"#filters [name={name}]", value)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with 5,000 samples and more."""
    run = build(tmp_path_factory.mktemp("many") / "run", Plan(red=2_400, held_out=200))
    assert sum(len(shelf.samples) for shelf in content_of(run).shelves) > 5_000
    return write(run)


@pytest.mark.slow
def test_five_thousand_samples_open_in_two_seconds_and_nothing_leaves(browser: Browser, many: Path) -> None:
    opened = Opened(browser, many)
    assert opened.seconds < 2, opened.seconds
    folder = many.with_name("report-samples").as_uri()
    assert all(url == many.as_uri() or url.startswith(folder) for url in opened.requests), opened.requests
    assert len(opened.requests) == 2, "the page, and the one file with what it shows"
    assert opened.complaints == []
    opened.page.close()


@pytest.mark.slow
def test_the_last_of_many_samples_is_reached_and_found_by_its_words(browser: Browser, many: Path) -> None:
    opened = Opened(browser, many)
    assert opened.seen("of 2,400").startswith("1\N{EN DASH}20")
    opened.page.fill("#filters [name=text]", "sister's diary")
    opened.seen("of 240")
    opened.page.click("#clear")
    opened.seen("of 2,400")
    for place in range(2):
        opened.page.click("#next")
        opened.seen(f"{20 * (place + 1) + 1}\N{EN DASH}")
    opened.page.close()


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(build(tmp_path_factory.mktemp("few") / "run", Plan(red=40, held_out=30)))


def test_a_small_report_is_one_file(browser: Browser, few: Path) -> None:
    assert not few.with_name("report-samples").exists()
    opened = Opened(browser, few)
    assert opened.requests == [few.as_uri()] and opened.complaints == []
    opened.page.close()


def test_samples_are_filtered_by_principle_outcome_and_label(browser: Browser, few: Path) -> None:
    opened = Opened(browser, few)
    page = opened.page
    everything = opened.seen("of 40")
    principle = page.evaluate("document.querySelector('#filters [name=principles]').options[1].value")
    opened.choose("principles", principle)
    opened.until(lambda shown: shown != everything)
    page.click("#open-all")
    samples = page.eval_on_selector_all("#sample-list > details", "all => all.map(each => each.textContent)")
    assert samples and all(f"principle {principle}" in each for each in samples)
    opened.choose("kind", "answer")
    opened.seen("of 60")
    assert not page.is_visible("#filters [name=principles]"), "answers have no principle"
    opened.choose("labels", "evasive")
    opened.until(lambda shown: "of 60" not in shown)
    found = page.eval_on_selector_all("#sample-list > details", "all => all.map(each => each.textContent)")
    assert found and all("evasive" in each for each in found)
    page.close()


def test_a_principle_leads_to_its_samples(browser: Browser, few: Path) -> None:
    opened = Opened(browser, few)
    button = opened.page.locator(".to-samples:visible").first
    button.click()
    assert opened.page.input_value("#filters [name=principles]") == button.get_attribute("data-principle")
    opened.page.close()


def test_links_lead_to_samples_that_are_not_shown_and_to_folded_principles(browser: Browser, few: Path) -> None:
    page = Opened(browser, few).page
    page.locator(".trace").first.evaluate("fold => fold.open = true")
    link = page.locator("#sample-list .trace a[href^='#principle-']").first
    target = str(link.get_attribute("href"))
    link.click()
    page.locator(f"{target} details.reach[open]").wait_for()
    page.fill("#filters [name=text]", "no sample has these words")
    anchor = page.evaluate(
        """() => { const index = JSON.parse(document.getElementById("sample-index").textContent);
        return index.anchors[index.samples.findLastIndex((line) => index.kinds[line[0]] === "revision")]; }"""
    )
    page.evaluate("anchor => { location.hash = anchor; }", anchor)
    page.locator(f"#{anchor}[open]").wait_for()
    assert page.input_value("#filters [name=kind]") == "revision" and page.input_value("#filters [name=text]") == ""
    assert page.text_content("#shown") == "21\N{EN DASH}40 of 40"
    other = page.locator(f"#{anchor} .trace a[href^='#sample-']").first
    page.locator(f"#{anchor} .trace summary").click()
    wanted = str(other.get_attribute("href"))
    other.click()
    page.locator(f"{wanted}[open]").wait_for()
    assert page.input_value("#filters [name=kind]") == "pair"
    page.close()
    opened_there = Opened(browser, few)
    opened_there.page.goto(f"{few.as_uri()}#{anchor}")
    opened_there.page.reload()
    opened_there.page.locator(f"#{anchor}[open]").wait_for()
    opened_there.page.close()


def test_the_words_of_a_trace_are_not_searched(browser: Browser, few: Path) -> None:
    opened = Opened(browser, few)
    address = opened.page.locator("#sample-list .trace td.address").last.text_content()
    opened.page.fill("#filters [name=text]", str(address))
    opened.seen("no sample fits")
    opened.page.close()


def test_at_420_pixels_nothing_is_cut_and_no_letter_is_tiny(browser: Browser, few: Path) -> None:
    opened = Opened(browser, few, width=420)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll("main *, header *")].filter(each => each.checkVisibility() &&
        [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).map(each => {
          const own = parseFloat(getComputedStyle(each).fontSize);
          const picture = each.ownerSVGElement;
          const view = picture?.viewBox.baseVal;
          return view?.width ? own * picture.getBoundingClientRect().width / view.width : own;
        }))"""
    )
    assert smallest >= 9.5
    answers = page.eval_on_selector_all(".answers dt", "all => all.map(each => each.textContent)")
    assert answers == ["Did it work?", "What was trained?", "On which constitution?", "Can I believe it?"]
    page.close()


@pytest.mark.parametrize("beside", [False, True], ids=["in the page", "in files"])
def test_a_hostile_corpus_executes_nothing(browser: Browser, beside: bool, tmp_path: Path) -> None:
    texts = itertools.cycle(text.encode("utf-8", "replace").decode("utf-8") for text in HOSTILE[:-1])
    plan = Plan(red=30, held_out=10, name=" ".join(HOSTILE[:20]), spoil=lambda words: f"{words} {next(texts)}")
    content = content_of(build(tmp_path / "run", plan))
    files = files_of(content.shelves)
    if beside:
        files = files.beside("page-samples")
    write_chunks(files, tmp_path / "page-samples")
    (tmp_path / "page.html").write_text(render_content(content, files), encoding="utf-8")
    opened = Opened(browser, tmp_path / "page.html")
    for kind in ("revision", "pair", "answer"):
        opened.choose("kind", kind)
        opened.seen("of")
        opened.page.click("#open-all")
        assert opened.page.locator("#sample-list > details").count() > 1
    assert opened.complaints == []
    assert all(url.startswith(tmp_path.as_uri()) for url in opened.requests), opened.requests
    assert opened.page.evaluate("document.querySelectorAll('script').length") < 20
    shown = opened.page.evaluate("document.body.textContent")
    assert "<script>alert(1)</script>" in shown
    opened.page.close()


def test_files_of_another_report_are_refused(browser: Browser, tmp_path: Path) -> None:
    content = content_of(build(tmp_path / "run", Plan(red=6, held_out=4)))
    files = files_of(content.shelves).beside("page-samples")
    page = tmp_path / "page.html"
    page.write_text(render_content(content, files), encoding="utf-8")
    opened = Opened(browser, page)
    assert "page-samples/chunk-0.js is missing" in opened.seen("missing")
    write_chunks(files, tmp_path / "page-samples")
    script = tmp_path / "page-samples" / "chunk-0.js"
    script.write_text(script.read_text().replace(files.index["key"], "0" * 16))
    opened = Opened(browser, page)
    assert "belongs to another report" in opened.seen("belongs")


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    files = files_of(content_of(build(tmp_path / "run", Plan(red=2, held_out=2))).shelves)
    mine = tmp_path / "page-samples"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something else"):
        write_chunks(files.beside(mine.name), mine)
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_long_name_is_not_wider_than_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = write(build(tmp_path / "run", Plan(red=2, held_out=2, name="n" * 150)))
    opened = Opened(browser, path, width=420)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 420
    opened.page.close()


def test_paper_says_how_many_of_the_samples_it_shows(browser: Browser, few: Path) -> None:
    opened = Opened(browser, few)
    opened.seen("of 40")
    opened.page.emulate_media(media="print")
    assert opened.page.is_visible("#shown"), "a reader of paper would take twenty samples for all"
    assert not opened.page.is_visible("#next") and not opened.page.is_visible("#filters")
    opened.page.close()
