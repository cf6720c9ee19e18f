"""docs/performance.md is what the results say, and says who wins and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench.measured import Measure
from benchmarks.bench.page import NO_REASON, PAGE, REASONS, page_of, read_reasons
from benchmarks.bench.results import FOLDER, Result, read_results, table
from benchmarks.bench.works import works
from solon.errors import InputError

WON = Result(
    name="labels-x.hf", work="labels-x", title="Labels, X", peer_name="a plain forward pass", solon=30.0, peer=4.0,
    ratio=7.5, low=7.1, high=8.2, of_limit=0.61, limit="operations", bar=7.5, unit="questions/s", measure=Measure.RATE,
    dtype="bfloat16", threads=2, repeats=5, solon_mb=900.0, peer_mb=1234.0, date="2026-11-28", cpu="A Processor",
    command="make bench WORK=labels-x", versions={"solon": "0.1"}, peer_versions={"transformers": "5.23.0"},
)  # fmt: skip
LOST = replace(WON, name="labels-x.vllm", peer_name="vLLM", ratio=0.8, low=0.7, high=0.9, bar=1.8)
SHORT = replace(WON, name="labels-x.other", peer_name="another", ratio=1.1, low=1.05, high=1.3, bar=1.2)
EVEN = replace(WON, name="labels-x.even", peer_name="one more", ratio=1.3, low=0.9, high=1.5, bar=None)


def test_the_page_is_the_one_that_the_results_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_of(read_results(FOLDER), read_reasons(REASONS)), (
        "Type: python -m benchmarks.bench --page"
    )


def test_results_and_reasons_are_of_works_that_exist() -> None:
    known = {f"{work.name}.{peer.name}": peer for work in works() for peer in work.peers}
    for result in read_results(FOLDER):
        assert result.bar == known[result.name].bar, result.name
    assert read_reasons(REASONS).keys() <= known.keys()


def test_each_figure_has_its_command_date_processor_and_winner() -> None:
    page = page_of([WON, LOST, EVEN], {})
    assert (
        "`make bench WORK=labels-x`, 2026-11-28, A Processor, 2 threads, medians of 5 repeats, in questions/s." in page
    )
    assert (
        "| a plain forward pass (transformers 5.23.0) | 30 | 4 | 7.50 [7.10-8.20] | 7.5, reached | **Solon wins** |"
        in page
    )
    assert "| 0.80 [0.70-0.90] | 1.8, missed | **the peer wins** | 900 / 1,234 |" in page
    assert "| 1.30 [0.90-1.50] |  | undecided |" in page
    assert "Of 3 comparisons with programs Solon wins 1 and loses 1; in 1 the interval contains 1." in page
    assert "in 2 of them, and 1 reach it" in page
    assert "Solon reaches 61% of the limit, which is set by operations." in page
    assert "- Labels, X: vLLM is ahead (0.80)." in page


def test_a_target_is_no_comparison_with_a_program() -> None:
    target = replace(LOST, name="stage.asked", peer_name="5,000 rows/s", peer_versions={}, peer_mb=0.0, bar=1.0)
    page = page_of([WON, LOST, target], {})
    assert "Of 2 comparisons with programs Solon wins 1 and loses 1; no interval contains 1." in page
    assert "in 2 of them, and 1 reach it" in page
    assert "A target is missed: Labels, X, 5,000 rows/s (ratio 0.80)." in page
    assert "5,000 rows/s is ahead" not in page and "| 1, missed | target |" in page


def test_a_reason_is_shown_where_solon_is_behind_or_below_what_is_asked_for_and_nowhere_else() -> None:
    reasons = {each.name: f"because of {each.name}" for each in (WON, LOST, SHORT, EVEN)}
    page = page_of([WON, LOST, SHORT, EVEN], reasons)
    assert [name for name in reasons if f"because of {name}" in page] == [LOST.name, SHORT.name]
    assert page_of([LOST], {}).count(NO_REASON) == 1 and NO_REASON not in page_of([WON], {})


def test_without_results_the_page_has_no_figure() -> None:
    page = page_of([], {})
    assert "Nothing has been measured yet" in page and "|" not in page.partition("## How")[0]


def test_less_is_better_where_seconds_are_measured() -> None:
    page = page_of([replace(WON, measure=Measure.SECONDS, unit="s", of_limit=None)], {})
    assert "in s; less is better." in page and "of the limit, which" not in page


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = WON.write(tmp_path)
    assert path.name == "labels-x.hf.json" and read_results(tmp_path) == [WON]
    wanted = {"name", "solon", "peer", "peer_name", "ratio", "low", "high", "of_limit", "date", "cpu"}
    assert wanted <= json.loads(path.read_text()).keys()
    assert "7.50 [7.10-8.20]" in table([WON]) and "61%" in table([WON])


@pytest.mark.parametrize("text", ["{}", "nonsense", "[]"])
def test_another_file_among_the_results_is_an_error(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("other.json").write_text(text)
    with pytest.raises(InputError, match=r"other\.json: this is no result"):
        read_results(tmp_path)


def test_reasons_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "why.yaml"
    assert read_reasons(path) == {}
    path.write_text("labels-x.hf: it computes less\n")
    assert read_reasons(path) == {"labels-x.hf": "it computes less"}
    path.write_text("labels-x.hf: 3\n")
    with pytest.raises(InputError, match="a text for each comparison"):
        read_reasons(path)
