"""The report's small parts: words, scales, choice of samples, differences."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.reporting import charts, samples
from solon.reporting.sentences import clearly, judge_check_details, judge_check_sentences, reinforcement_sentences
from solon.reporting.svg import nice_domain, tag, ticks
from solon.reporting.visible_text import against_chance, changes, clip, duration, one_line, visible


@pytest.mark.parametrize(
    ("seconds", "shown"), [(4.21, "4.2 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.51, 0.8, "better than chance"), (0.38, 0.66, "no better than chance"), (0.1, 0.49, "worse than chance")],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, says: str) -> None:
    assert against_chance({"low": low, "high": high}) == says


def test_change_is_claimed_only_where_intervals_are_apart() -> None:
    high, low, wide = ({"low": a, "high": b} for a, b in ((0.9, 0.97), (0.1, 0.2), (0.15, 0.95)))
    assert clearly(high, low) == "fell"
    assert clearly(low, high) == "rose"
    assert clearly(high, wide) is None


def test_judge_check_names_a_chance_that_is_not_one_half_and_its_details() -> None:
    copied = {"value": 0.5, "low": 0.31, "high": 0.69, "n": 24}
    judge_check = {
        "critic": {"value": 0.25, "low": 0.12, "high": 0.45, "n": 24, "chance": 0.3, "copied": copied, "passed": None}
    }
    assert list(judge_check_sentences(judge_check)) == [
        "The critic was right on 25.0 % [12.0-45.0] of 24 plain questions: no better than chance (30.0 %); "
        "too weak a critic to rely on."
    ]
    assert list(judge_check_details(judge_check)) == [
        "On plain questions to the critic, 50.0 % [31.0-69.0] of its critiques repeated a worked example."
    ]


def test_a_run_that_was_stopped_says_so_and_names_the_signs() -> None:
    facts = {"steps": 12, "steps_asked": 36, "stopped_because": "the KL was high", "signs": ["length: 90 tokens"]}
    assert list(reinforcement_sentences(facts)) == [
        "Reinforcement learning stopped after step 12 of 36: the KL was high.",
        "A sign of over-training, length: 90 tokens.",
    ]
    assert not list(reinforcement_sentences({"steps": 36, "steps_asked": 36, "signs": []}))


def test_judge_check_without_cases_says_nothing() -> None:
    assert list(judge_check_sentences({"judge": {"value": 0, "low": 0, "high": 1, "n": 0}, "odd": "text"})) == []


@given(st.text())
def test_visible_text_has_no_hidden_character_and_keeps_the_rest(text: str) -> None:
    shown = visible(text)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert visible(shown) == shown
    shown.encode("utf-8")


def test_visible_writes_out_a_lone_surrogate() -> None:
    assert visible("a\ud800b") == "a[U+D800]b"


@given(st.text(max_size=400), st.integers(1, 50))
def test_one_line_is_one_short_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert "\n" not in line
    assert len(line) <= limit + 2


def test_clip_says_what_is_missing() -> None:
    assert clip("short") == "short"
    assert clip("x" * 5000, 10) == f"{'x' * 10} … [4,990 more characters in the table]"


@given(st.text(alphabet="ab \n", max_size=60), st.text(alphabet="ab \n", max_size=60))
def test_changes_lose_no_text(before: str, after: str) -> None:
    assert "".join(piece.words for piece in changes(before, after)) == after


def test_changes_mark_new_words() -> None:
    assert [(piece.words, piece.new) for piece in changes("take the bike", "please leave the bike")] == [
        ("please leave", True),
        (" the bike", False),
    ]
    assert [piece.new for piece in changes("same words", "same words")] == [False]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_lie_inside_and_are_evenly_spaced(low: float, span: float) -> None:
    high = low + span
    marks = ticks(low, high)
    assert 1 <= len(marks) <= 12
    assert all(low - span * 1e-6 <= mark <= high + span * 1e-6 for mark in marks)
    gaps = [b - a for a, b in itertools.pairwise(marks)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-6) for gap in gaps)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_nice_domain_holds_every_value(values: list[float]) -> None:
    low, high = nice_domain(values)
    slack = 1e-9 * max(1.0, abs(low), abs(high)) + 1e-6 * (high - low)
    assert low < high
    assert low - slack <= min(values) and max(values) <= high + slack


def test_tag_escapes_names_of_data() -> None:
    made = tag("text", "<b>&", class_='x" onload="alert(1)')
    assert str(made) == '<text class="x&#34; onload=&#34;alert(1)">&lt;b&gt;&amp;</text>'


def test_a_hostile_model_name_stays_text_in_the_figure() -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    figure = charts.trade_off({"</text><script>alert(1)</script>": {"helpful": share, "harmful": share}})
    assert figure is not None
    assert "<script" not in figure
    assert "&lt;script&gt;" in figure


def test_figures_need_their_data() -> None:
    assert charts.trade_off({"rl-cai": {}}) is None
    assert charts.by_revision({}) is None
    assert charts.trend(charts.Curve("KL", ((1.0, math.nan), (2.0, 1.0)))) is None
    assert charts.histogram([]) is None
    assert charts.reliability([]) is None


def test_labels_of_points_do_not_cover_each_other() -> None:
    share = {"value": 0.9, "low": 0.85, "high": 0.94, "n": 100}
    figure = charts.trade_off({name: {"helpful": share, "harmful": share} for name in ("one", "two", "three", "four")})
    places = {
        (part.split('"')[1], part.split('"')[3]) for part in str(figure).split("<text ")[1:] if "point-name" in part
    }
    assert len(places) == 4


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["ok", "empty", "malformed"])), max_size=300))
def test_the_order_of_samples_is_stable_whole_and_begins_with_what_went_wrong(rows: list[tuple[int, str]]) -> None:
    def ordered(items: list[tuple[int, str]]) -> list[tuple[int, str]]:
        return samples.in_order(items, lambda row: str(row[0]), lambda row: [row[1]])

    every = ordered(rows)
    assert sorted(every) == sorted(rows)
    chosen = every[: samples.FIRST]
    for outcome in ("empty", "malformed"):
        there = sum(row[1] == outcome for row in rows)
        assert sum(row[1] == outcome for row in chosen) >= min(there, samples.RARE)
    if len({row[0] for row in rows}) == len(rows):
        assert ordered(rows[::-1]) == every
