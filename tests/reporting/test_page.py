"""The page: whole, self-contained, closed, and deaf to hostile text."""

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from solon.reporting import render, write
from solon.reporting.sample_files import json_for_script
from tests.synthetic import Plan, build

VOID = {"meta", "br", "input", "img", "link", "hr"}


class Page(HTMLParser):
    """Collects what a browser would see: elements with attributes, text, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.comments: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1] if self.open else None}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] in ("script", "style") else self.words).append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def shape(self) -> set[tuple[str, tuple[str, ...]]]:
        """Which elements carry which attributes (names only)."""
        return {(tag, tuple(sorted(attributes))) for tag, attributes in self.elements}


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style><style>*{display:none}</style>",
    "</title><img src=x onerror=alert(3)>",
    '"><svg onload=alert(4)>',
    "' onmouseover='alert(5)",
    '" onfocus="alert(6)" autofocus x="',
    "<!-- <b>comment</b> -->",
    "--><b>out</b>",
    "]]><b>cdata</b>",
    "javascript:alert(7)",
    "<a href=javascript:alert(8)>x</a>",
    "<style>@import url(https://evil.example/x.css)</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<iframe srcdoc='<script>alert(9)</script>'></iframe>",
    "{{ 7 * 7 }}{% raw %}${7*7}<%= 7.0 %>",
    "&lt;b&gt; &amp;amp; &#60;b&#62;",
    "line\u2028separator\u2029paragraph",
    "bidi \u202e desrever \u2066 isolate",
    "escape \x1b[31mred\x1b[0m nul \x00 bell \x07 delete \x7f",
    "lone surrogate \ud800 end",
    "a" * 300_000,
)


def opened(html: str) -> str:
    """The page with all its samples in their place, as its script shows them one after the other."""
    chunks = re.findall(r'<script type="application/json" id="chunk-\d+">(.*?)</script>', html, re.S)
    texts = "".join(text for chunk in chunks for text in json.loads(chunk))
    place = '<div id="sample-list" aria-live="polite"></div>'
    assert html.count(place) == 1
    return html.replace(place, f"<div>{texts}</div>")


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(build(tmp_path_factory.mktemp("plain") / "run"))


def test_the_page_is_well_formed_and_whole(plain_page: str) -> None:
    page = Page(plain_page)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"measures", "training", "labels", "constitution", "samples", "stages"} <= set(ids)
    found = re.search(r'<script type="application/json" id="sample-index">(.*?)</script>', plain_page, re.S)
    assert found is not None
    anchors = json.loads(found[1])["anchors"]
    with_samples = Page(opened(plain_page))
    shown = {attributes["id"] for _, attributes in with_samples.elements if "id" in attributes}
    assert len(anchors) == len(set(anchors)) and shown | {"sample-list"} == {*ids, *anchors}
    linked = [attributes["href"] for tag, attributes in with_samples.elements if tag == "a"]
    assert all(link.startswith("#") and link[1:] in shown for link in linked)


def test_the_page_says_what_the_run_found(plain_page: str) -> None:
    text = Page(plain_page).text
    assert "Harmful replies fell, helpful replies did not clearly change" in text
    assert "Harmful replies to 40 held-out harmful prompts fell from 95.0 % [83.5-98.6] to 5.0 % [1.4-16.5]." in text
    assert "The judge was right on 52.5 % [37.5-67.1] of 40 plain comparisons: no better than chance." in text
    assert (
        "The critic was right on 90.0 % [77.0-96.0] of 40 replies with a plain fault: better than chance (20.0 %)."
        in text
    )


def test_the_page_says_how_good_the_labels_are(plain_page: str) -> None:
    text = Page(plain_page).text
    assert "Label quality" in text
    assert "Being shown as (A) adds +0.31 [+0.12 to +0.50] to a reply's log-odds" in text
    assert "the judge gives (A) a probability of 62.5 % [42.7-78.8] (50 % is ideal), over 24 questions" in text
    assert "turned 33.3 % [17.2-54.6] of 21 right answers wrong" in text
    assert "an expected calibration error of 0.025 and a Brier score of 0.210" in text
    assert "No reply contains words that try to influence the judge." in text
    assert "The preferred reply is on average" in text
    by_principle = text.partition("By principle")[2]
    assert "Orders agree" in by_principle and "Known answers" in by_principle and "less-preachy" in by_principle


def test_the_figures_are_there(plain_page: str) -> None:
    page = Page(plain_page)
    charts = [attributes for tag, attributes in page.elements if attributes.get("class") == "chart"]
    # Trade-off, by revision, four curves of RL, reward by distance, three of supervised training, histogram,
    # calibration against the grader and on known answers.
    assert len(charts) == 13
    strips = [attributes for tag, attributes in page.elements if attributes.get("class") == "strip"]
    assert len(strips) > 60, "the measures, by group, comparisons judged right, injections"


def test_the_page_loads_nothing(plain_page: str) -> None:
    page = Page(plain_page)
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
        assert "style" not in attributes, "the policy forbids style attributes"
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action", "formaction"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"url\(|@import|https?://", "".join(page.scripts))


def test_the_policy_admits_our_style_and_script_alone(plain_page: str) -> None:
    page = Page(plain_page)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", plain_page, re.S)
    script = re.search(r"<script>(.*?)</script>", plain_page, re.S)
    assert style and script
    for rule, content in (("style-src", style[1]), ("script-src", script[1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run in which every text of a model or a data set, and the run's name, carries the whole corpus in turn."""
    texts = itertools.cycle(text.encode("utf-8", "replace").decode("utf-8") for text in HOSTILE)
    plan = Plan(red=12, held_out=10, name=" ".join(HOSTILE[:20]), spoil=lambda words: f"{words} {next(texts)}")
    return render(build(tmp_path_factory.mktemp("hostile") / "run", plan))


def test_hostile_text_adds_no_element_and_no_attribute(hostile_page: str, plain_page: str) -> None:
    page, plain = Page(opened(hostile_page)), Page(opened(plain_page))
    assert page.open == []
    assert page.comments == []
    # The outcome of a cut-off revision and the like may be missing from either page; nothing else may be new.
    assert page.shape - plain.shape == set()
    assert len(page.scripts) - hostile_page.count('id="chunk-') == len(plain.scripts) - plain_page.count('id="chunk-')


@pytest.mark.parametrize("text", [text for text in HOSTILE if len(text) < 1000 and text.isprintable()])
def test_hostile_text_is_shown_as_it_is(text: str, hostile_page: str) -> None:
    assert text in Page(opened(hostile_page)).text


def test_hidden_characters_are_written_out(hostile_page: str) -> None:
    assert not re.search("[\x00\x1b\u202e\u2028]", hostile_page)
    for shown in ("[U+202E]", "[U+0000]", "[U+001B]", "[U+2028]"):
        assert shown in hostile_page


def test_one_huge_row_does_not_make_a_huge_page(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=1, held_out=1, spoil=lambda words: words + " x" * 300_000))
    assert len(render(run)) < 1_000_000


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_embedded_json_cannot_end_its_script_and_stays_exact(text: str) -> None:
    value = {text: [text, 1.5, None]}
    embedded = str(json_for_script(value))
    assert not re.search("[<>&\u2028\u2029]", embedded)
    assert json.loads(embedded) == value


def test_the_results_are_embedded_for_programs(plain_page: str) -> None:
    data = re.search(r'<script type="application/json" id="results">(.*?)</script>', plain_page, re.S)
    assert data
    assert json.loads(data[1])["models"]["rl-cai"]["harmful"]["n"] == 40


def test_the_report_is_a_pure_function_of_the_run(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=3, held_out=3))
    assert render(run) == render(run)


@pytest.mark.parametrize("stages", [0, 2, 3, 6, 9])
def test_an_unfinished_run_has_a_report_that_says_so(stages: int, tmp_path: Path) -> None:
    page = Page(render(build(tmp_path / "run", Plan(red=3, held_out=3, stages=stages))))
    assert page.open == []
    assert ("The run is not finished" in page.text) == (stages < 9)


def test_without_a_rater_the_page_claims_no_effect(tmp_path: Path) -> None:
    text = Page(render(build(tmp_path / "run", Plan(red=3, held_out=3, rated=False)))).text
    assert "not the effect of the constitution" in text
    assert "harmful replies fell" not in text


def test_write_writes_the_page_to_the_run_or_to_the_given_file(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    assert write(run) == run.path / "report.html"
    assert write(run, tmp_path / "new" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not [path for path in run.path.iterdir() if path.name.endswith(".part")]
