"""The page of an ablation: every share is there with its interval, and no name becomes markup."""

from __future__ import annotations

import html
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from solon.pipeline.ablation import over_seeds
from solon.reporting.variants import LABELS, columns_of, figures_of, write_page
from solon.stages.extra_preference_order import MEASURES
from solon.stats.intervals import wilson

HOSTILE = "<script>alert(1)</script>\u202e"


def by_revision(shares: dict[str, list[int]]) -> dict[str, Any]:
    variants = {
        name: {str(step): {"harmful": wilson(count, 40).facts()} for step, count in enumerate(counts)}
        for name, counts in shares.items()
    }
    return {"name": "test", "question": "Does it fall?", "measure": "revisions", "variants": variants}


def by_model(shares: dict[str, int]) -> dict[str, Any]:
    variants = {name: {label: wilson(count, 40).facts() for label in LABELS} for name, count in shares.items()}
    return {"name": "test", "question": "Which n?", "measure": "sl-cai", "variants": variants}


def by_preference_model(shares: dict[str, list[int]]) -> dict[str, Any]:
    variants = {
        name: {measure: wilson(count, 40).facts() for measure, count in zip(MEASURES, counts, strict=False)}
        for name, counts in shares.items()
    }
    return {"name": "test", "question": "Which labels?", "measure": "preference-model", "variants": variants}


def test_the_table_of_preference_models_has_a_column_for_every_quality() -> None:
    head, rows = columns_of(by_preference_model({"soft": [30, 20], "hard": [28]}))
    assert head == ["harmlessness", "helpfulness"]
    assert [[share and share["value"] for share in shares] for _, shares in rows] == [[0.75, 0.5], [0.7, None]]


def test_the_table_has_a_column_for_every_revision_and_a_gap_where_nothing_was_measured() -> None:
    head, rows = columns_of(by_revision({"critiqued": [40, 20, 10], "direct": [40, 30]}))
    assert head == ["reply", "revision 1", "revision 2"]
    assert [(name, [share and share["value"] for share in shares]) for name, shares in rows] == [
        ("critiqued", [1.0, 0.5, 0.25]), ("direct", [1.0, 0.75, None]),
    ]  # fmt: skip


def test_of_means_the_caption_says_over_how_many_seeds_and_no_cell_repeats_it(tmp_path: Path) -> None:
    one, two = (by_model({"rl-cai": count})["variants"] for count in (30, 20))
    means = {**by_model({}), "seeds": [0, 1], "variants": over_seeds([one, two])}
    page = write_page(means, tmp_path).read_text()
    table = page[page.index("Share of replies to held-out prompts") :]
    assert table.count("over 2 seeds") == 1 and "of 2" not in table
    single = write_page({**by_model({"rl-cai": 30}), "seeds": [0]}, tmp_path).read_text()
    assert "over 1" not in single and single.count("of 40") >= len(LABELS)


def test_the_table_of_models_has_a_column_for_every_label() -> None:
    head, rows = columns_of(by_model({"sl-cai-1": 30, "sl-cai-2": 10}))
    assert head == ["harmful", "evasive", "objecting", "preachy", "garbled", "helpful"]
    assert [shares[0]["value"] for _, shares in rows if shares[0]] == [0.75, 0.25]


def drawn_of(figures: dict[str, Any]) -> str:
    """The one picture of these figures."""
    ((caption, picture),) = figures_of(figures)
    assert caption == ""
    return str(picture)


@pytest.mark.parametrize(
    ("figures", "points"),
    [
        (by_revision({"critiqued": [40, 20, 10], "direct": [40, 30, 20]}), 6),
        (by_model({"sl-cai-1": 30, "sl-cai-2": 10}), 12),
        (by_preference_model({"soft": [30, 20], "hard": [28]}), 3),
    ],
)
def test_the_figure_has_a_point_and_an_interval_for_every_share(figures: dict[str, Any], points: int) -> None:
    drawn = drawn_of(figures)
    assert drawn.count("<circle") == drawn.count('class="whisker"') == points
    assert len(re.findall(r"of 40</title>", drawn)) == points


def test_a_lower_share_is_drawn_lower() -> None:
    drawn = drawn_of(by_revision({"v": [40, 20, 0]}))
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert heights == sorted(heights) and len(set(heights)) == 3


def test_every_variant_of_a_preference_model_has_a_row_of_its_own_the_first_on_top() -> None:
    drawn = drawn_of(by_preference_model({"soft": [30, 20], "hard": [28, 18], "oracle": [40, 20]}))
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)][:3]
    assert heights == sorted(heights) and min(b - a for a, b in itertools.pairwise(heights)) > 20


def test_nothing_measured_is_no_figure() -> None:
    assert figures_of(by_revision({})) == []
    assert figures_of(by_model({})) == []
    assert figures_of(by_preference_model({})) == []


def test_names_and_questions_cannot_write_the_page(tmp_path: Path) -> None:
    figures = by_revision({HOSTILE: [40, 20]})
    figures |= {"name": HOSTILE, "question": HOSTILE}
    page = write_page(figures, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in page and "\u202e" not in page and page.count("[U+202E]") >= 4
    assert "default-src 'none'" in html.unescape(page)
    assert "50.0 % [35.2-64.8] of 40" in page
    assert [entry.name for entry in tmp_path.iterdir()] == ["ablation.html"]
