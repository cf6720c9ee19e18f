"""The page in a real browser, headless Chromium: a whole session, reload, tabs, keys, a phone, hostile texts."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from solon.comparisons.hidden_models import HiddenModels, compared_models
from solon.comparisons.turn_taking import TurnTaking
from solon.comparisons.vote_files import read_votes
from solon.comparisons.vote_rows import Preferred, Strength, VoteMode
from solon.comparisons.vote_store import VOTES, VoteStore
from solon.config.recipe import EngineSettings
from solon.config.settings import SamplingParams
from solon.conversation import Prompt
from tests.comparisons.served import PROMPTS, Compared, compared, prompt, says, serving

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    # A driver process of Playwright, which it ends itself.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    "<a href='javascript:window.hit = 3'>x</a></textarea><svg onload='window.hit = 4'></svg>{{ 7 * 7 }}"
)
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, made: Compared, **context: Any) -> Iterator[tuple[Any, str]]:
    """A browser's context on the page, and the page's address; fails for any request elsewhere, error or dialog."""
    with serving(made) as url:
        found = browser.new_context(**context)
        found.set_default_timeout(30_000)
        elsewhere: list[str] = []
        faults: list[str] = []

        def watch(page: Any) -> None:
            page.on("request", lambda request: urlsplit(request.url).netloc in (urlsplit(url).netloc, "")
                    or elsewhere.append(request.url))  # fmt: skip
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda line: line.type == "error" and faults.append(line.text))
            page.on("dialog", lambda dialog: faults.append(dialog.message))

        found.on("page", watch)
        yield found, url
        found.close()
        assert not elsewhere
        assert not [fault for fault in faults if "409" not in fault], faults


def arrive(page: Any, selector: str) -> None:
    """Wait until a page with such an element is there, with its style sheet and script."""
    page.wait_for_selector(selector, state="attached")
    page.wait_for_load_state("load")


def begin(context: Any, url: str, mode: str = "helpfulness") -> Any:
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name=f"Begin: {mode}").click()
    arrive(page, "#write")
    return page


def send(page: Any, text: str) -> None:
    page.get_by_role("textbox", name="turn").fill(text)
    page.get_by_role("button", name="Send to both").click()
    arrive(page, "#vote")


def vote(page: Any, name: str) -> None:
    page.get_by_role("radio", name=name).check(force=True)
    page.get_by_role("button", name="Save and continue").click()
    arrive(page, "#write")


def test_a_whole_session_with_a_reload_at_every_step(browser: Any, tmp_path: Path) -> None:
    reloaded = threading.Event()

    def slow(asked: Prompt, seed: int) -> str:
        reloaded.wait(60)
        return str(says("Falcon")(asked, seed))

    made = compared(tmp_path, slow, says("Otter"))
    with opened(browser, made) as (context, url):
        page = begin(context, url)
        page.get_by_label("Your turn").fill("A draft that is not se")
        page.reload()
        assert page.get_by_label("Your turn").input_value() == "A draft that is not se"
        page.get_by_label("Your turn").fill("How do I bake bread?")
        page.get_by_role("button", name="Send to both").click()
        arrive(page, "[role=status]")
        page.reload()
        arrive(page, "[role=status]")
        reloaded.set()
        arrive(page, "#vote")
        page.reload()
        shown = page.inner_text(".pair")
        assert "Falcon reply" in shown and "Otter reply" in shown
        vote(page, "B is clearly more helpful")
        page.reload()
        turn = made.store.turns(page.url.rpartition("/")[2])[0][0]
        assert page.inner_text(".turn.assistant p") == turn.reply_b
        page.get_by_role("link", name="Take a prompt").click()
        page.get_by_role("link", name="Take another prompt").click()
        page.get_by_role("button", name="Send to both").click()
        arrive(page, "#vote")
        vote(page, "Tie: both are as good")
        assert "2 votes saved" in page.inner_text(".bar")
    records = list(made.store.records())
    assert [(each.preferred, each.strength) for each in records] == [
        (Preferred.B, Strength.CLEARLY),
        (Preferred.TIE, None),
    ]
    assert records[1].source.startswith("prompts.jsonl:")


def test_a_turn_that_could_not_be_sent_is_there_when_the_server_is_back(browser: Any, tmp_path: Path) -> None:
    made = compared(tmp_path)
    with opened(browser, made) as (context, url):
        page = begin(context, url)
        page.get_by_label("Your turn").fill("A long thought")
        address = page.url
        context.set_offline(True)
        page.get_by_role("button", name="Send to both").click()
        page.wait_for_url(lambda found: found != address)
        context.set_offline(False)
        page.goto(address)
        assert page.get_by_label("Your turn").input_value() == "A long thought"
        page.get_by_role("button", name="Send to both").click()
        arrive(page, "#vote")
        vote(page, "Tie: both are as good")
        page.reload()
        assert page.get_by_role("textbox", name="turn").input_value() == "", "a turn that is saved is forgotten"
        assert page.evaluate("sessionStorage.length") == 0


def test_two_tabs_and_two_people_keep_their_places(browser: Any, tmp_path: Path) -> None:
    made = compared(tmp_path)
    with opened(browser, made) as (context, url):
        first, second = begin(context, url), begin(context, url, "harmlessness")
        assert first.url != second.url
        send(first, "First tab?")
        send(second, "Second tab?")
        vote(second, "A is much less harmful")
        assert "First tab?" in first.inner_text(".talk") and "Second" not in first.inner_text("body")
        same = context.new_page()
        same.goto(first.url)
        vote(same, "A is slightly more helpful")
        first.get_by_role("radio", name="B is much more helpful").check(force=True)
        first.get_by_role("button", name="Save and continue").click()
        arrive(first, "[role=alert]")
        assert "another vote already" in first.inner_text("main")
        first.get_by_role("link", name="Back to the conversation").click()
        arrive(first, "#write")
        person = browser.new_context()
        elsewhere = begin(person, url)
        send(elsewhere, "Another person?")
        send(first, "First tab again?")
        vote(elsewhere, "B is slightly more helpful")
        vote(first, "Tie")
        person.close()
    by_conversation: dict[str, list[str]] = {}
    for record in made.store.records():
        by_conversation.setdefault(record.conversation, []).append(record.prompt.turns[-1].content)
    assert sorted(by_conversation.values()) == [
        ["Another person?"],
        ["First tab?", "First tab again?"],
        ["Second tab?"],
    ]


def test_a_session_by_keyboard_alone(browser: Any, tmp_path: Path) -> None:
    made = compared(tmp_path)
    with opened(browser, made) as (context, url):
        page = context.new_page()
        page.goto(url)
        page.keyboard.press("Tab")
        page.keyboard.type("Ada")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        for number, (key, question) in enumerate([("1", "One?"), ("4", "Two?"), ("6", "Three?")], start=1):
            arrive(page, "#write")
            page.keyboard.type(question)  # the text has the focus
            page.keyboard.press("Control+Enter")
            arrive(page, "#vote")
            page.keyboard.press(key)
            page.keyboard.press("Enter")
            arrive(page, f"#write input[value='{number + 1}']")
        page.keyboard.type("1 to 7 are only letters here: 1234567")
        assert page.get_by_role("textbox", name="turn").input_value().endswith("1234567")
        page.keyboard.press("Control+Enter")
        arrive(page, "#vote")
        for _ in range(4):  # to the scale, where arrows choose
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == "preferred":
                break
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        arrive(page, "#write")
    records = list(made.store.records())
    assert [each.preferred for each in records][:3] == [Preferred.A, Preferred.TIE, Preferred.B]
    assert (records[3].preferred, records[3].strength) == (Preferred.A, Strength.CLEARLY), "the second of seven"
    assert len(records) == 4 and {record.judge for record in records} == {"Ada"}


@pytest.mark.parametrize("width", [420, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    made = compared(tmp_path, lambda *_: LONG, says("Otter"))
    phone = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "has_touch": True}
    with opened(browser, made, **phone) as (context, url):

        def fits(page: Any) -> None:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            wide = "[...document.querySelectorAll('main *')].filter((e) => e.scrollWidth > e.clientWidth + 1 && "
            wide += "getComputedStyle(e).display !== 'inline').map((e) => e.outerHTML.slice(0, 80))"
            assert page.evaluate(wide) == []

        page = context.new_page()
        page.goto(url)
        fits(page)
        page.get_by_role("button", name="Begin: harmlessness").tap()
        arrive(page, "#write")
        fits(page)
        page.get_by_role("textbox", name="turn").fill(LONG)
        page.get_by_role("button", name="Send to both").tap()
        arrive(page, "#vote")
        fits(page)
        for mark in page.query_selector_all(".mark"):
            box = mark.bounding_box()
            assert box["height"] >= 44 and box["width"] >= 44, "a finger needs 44 pixels"
        page.locator(".mark").nth(4).tap()
        page.get_by_role("button", name="Save and continue").tap()
        arrive(page, "#write")
        fits(page)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(251, 250, 247)", "dark": "rgb(23, 25, 29)"}[scheme]
    assert next(made.store.records()).preferred is Preferred.B


def test_hostile_texts_of_models_prompts_and_people_run_nothing(browser: Any, tmp_path: Path) -> None:
    prompts = {VoteMode.HELPFULNESS: [prompt(HOSTILE, HOSTILE, HOSTILE)], VoteMode.HARMLESSNESS: [prompt(HOSTILE)]}
    made = compared(tmp_path, lambda *_: HOSTILE, lambda *_: HOSTILE + "!", prompts=prompts)
    with opened(browser, made) as (context, url):
        page = context.new_page()
        page.goto(url)
        page.get_by_label("Your name").fill("<script>window.hit=5</script>")
        page.get_by_role("button", name="Begin: helpfulness").click()
        page.get_by_role("link", name="Take a prompt").click()
        assert page.get_by_role("textbox", name="turn").input_value() == HOSTILE
        page.get_by_role("button", name="Send to both").click()
        arrive(page, "#vote")
        assert page.inner_text(".pair .reply >> nth=0").rstrip("!") == HOSTILE
        assert page.evaluate("[window.hit, document.scripts.length, document.images.length]") == [None, 1, 0]
        vote(page, "A is much more helpful")
        assert page.evaluate("[window.hit, document.scripts.length, document.images.length]") == [None, 1, 0]


def test_without_a_script_the_page_is_complete(browser: Any, tmp_path: Path) -> None:
    made = compared(tmp_path)
    with opened(browser, made, java_script_enabled=False) as (context, url):
        page = begin(context, url)
        send(page, "No script?")
        vote(page, "A is clearly more helpful")
    assert made.store.count() == 1


def test_real_models_behind_the_page(browser: Any, tiny: Path, tmp_path: Path) -> None:
    """Two tiny random models, as `solon compare` opens them."""
    from tests.training.tiny import save_tiny_model

    other = save_tiny_model(tmp_path / "other", seed=3)
    models = compared_models([f"one={tiny}", f"two={other}"])
    store = VoteStore(tmp_path / VOTES)
    store.add_models(models)
    opened_models = HiddenModels.opened(models, SamplingParams(max_tokens=12), EngineSettings(threads=1))
    taking = TurnTaking(store, [model.key for model in models], PROMPTS, seed=0)
    made = Compared(store, taking, opened_models, ())  # type: ignore[arg-type]
    with opened(browser, made) as (context, url):
        page = begin(context, url)
        for number in range(3):
            send(page, f"How do I bake bread {number} ?")
            vote(page, "A is slightly more helpful")
    assert len(read_votes([tmp_path])) == 3
    assert {record.model_a for record in store.records()} <= {model.key for model in models}
