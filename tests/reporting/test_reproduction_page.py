"""The page and the tables of the reproduction, from planted results: every number is there, and nothing is executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.pipeline.reproduction.paper_figures import (
    FigurePlot,
    FigureText,
    PaperFigure,
    PlotKind,
    PlotLine,
    PlotPoint,
    Quantity,
    checked,
    paper_figure,
)
from solon.pipeline.reproduction.paper_reproduction import ReproductionResults
from solon.reporting.reproduction_charts import draw, figure_in_words
from solon.reporting.reproduction_page import (
    found_in_words,
    markdown,
    rules_in_words,
    summary,
    verdict_in_words,
    write_reproduction,
)
from solon.stats.claim_verdicts import Difference, Expected

HOSTILE = "<script>alert(1)</script>"


def plot(kind: PlotKind, *, share: bool = False) -> FigurePlot:
    def point(x: float) -> PlotPoint:
        up = Difference(x / 4, x / 4 - 0.1, x / 4 + 0.1)
        return PlotPoint(x, up, Difference(10 * x, 9 * x, 11 * x), f"step {x:g}", 9)

    lines = tuple(PlotLine(name, tuple(point(x) for x in xs)) for name, xs in (("one", (1, 2)), (HOSTILE, (1, 2, 3))))
    return FigurePlot("A plot", kind, "across", "up", lines, share)


def figure(number: int, *, low: float = 12.0, plots: tuple[FigurePlot, ...] = ()) -> PaperFigure:
    words = FigureText(number, f"Title {number}", f"Claim {HOSTILE}", "Here")
    checks = [
        *checked("one is higher", Quantity.ELO, Expected.HIGHER, Difference(30.4, low, 50.6)),
        *checked("alike", Quantity.SHARE, Expected.ALIKE, Difference(0.02, -0.01, 0.04), 0.05),
    ]
    return paper_figure(words, checks, list(plots), ("Something.",))


def results(*figures: PaperFigure) -> ReproductionResults:
    measures = {"harmful": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 96}}
    return ReproductionResults("small", ("seed=1",), figures, {"rl|cai": measures}, 800, ("rough",), {"one": 1.25})


def test_the_page_has_every_figure_and_runs_nothing(tmp_path: Path) -> None:
    kinds = tuple(plot(kind, share=kind is PlotKind.RELIABILITY) for kind in PlotKind)
    page = write_reproduction(results(figure(2, plots=kinds), figure(3, low=-1)), tmp_path).read_text()
    assert "script-src &#39;none&#39;" in page and "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<figure>") == len(PlotKind) and "Title 2" in page and "Title 3" in page
    assert "+30 [+12 to +51] Elo points" in page and "+2.0 [-1.0 to +4.0] percentage points (margin 5)" in page
    assert "1 holds, 1 not clear" in page and "50.0 [40.0-60.0]" in page and "rough" in page
    assert (tmp_path / "reproduction.md").read_text() == markdown(results(figure(2), figure(3, low=-1)))


def test_the_tables_have_one_line_for_each_figure_check_and_model() -> None:
    text = markdown(results(figure(2), figure(3)))
    tables = text.split("\n\n")
    assert [table.count("\n| ") for table in tables[:2]] == [3, 5]
    assert "| rl/cai | 50.0 [40.0-60.0] |" in text and "holds (2 of 2 checks hold)" in text


def test_a_figure_without_a_check_is_not_shown() -> None:
    empty = paper_figure(FigureText(12, "T", "C", "H"), [], [])
    assert verdict_in_words(empty) == "not shown" and summary(results(empty)) == "1 not shown"
    assert checked("says", Quantity.ELO, Expected.HIGHER, None) == []


def test_every_rule_is_told() -> None:
    assert [name for name, _ in rules_in_words()] == [each.value for each in Expected]


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        (Quantity.SCORE, "+0.12 [+0.04 to +0.20] (margin 0.50)"),
        (Quantity.RATING, "+0.12 [+0.04 to +0.20] points of 4 (margin 0.50)"),
        (Quantity.ERROR, "0.120 [0.040 to 0.200] (margin 0.5)"),
        (Quantity.SHARE, "+12.0 [+4.0 to +20.0] percentage points (margin 50)"),
    ],
)
def test_a_check_is_written_with_its_unit(quantity: Quantity, words: str) -> None:
    assert found_in_words(checked("", quantity, Expected.ALIKE, Difference(0.12, 0.04, 0.2), 0.5)[0]) == words


def test_figures_in_words() -> None:
    assert figure_in_words(Difference(0.5, 0.4, 0.6), share=True) == "50.0 % [40.0 to 60.0]"
    assert figure_in_words(Difference(-120.6, -150.0, -100.0), share=False, decimals=0) == "-121 [-150 to -100]"
    assert figure_in_words(Difference(1.5, 1.25, 1.75), share=False) == "1.50 [1.25 to 1.75]"


@pytest.mark.parametrize("kind", list(PlotKind))
def test_a_plot_shows_each_point_and_none_where_there_is_none(kind: PlotKind) -> None:
    drawn = draw(plot(kind))
    assert drawn is not None and drawn.count("<circle") == 5
    assert draw(FigurePlot("empty", kind, "x", "y", (PlotLine("one", ()),))) is None
