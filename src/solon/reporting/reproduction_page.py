"""The page of the reproduction, and the same as Markdown tables for the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from solon.pipeline.reproduction.paper_figures import ClaimCheck, PaperFigure, Quantity
from solon.pipeline.reproduction.paper_reproduction import ReproductionResults
from solon.reporting.page import fill, write_page
from solon.reporting.reproduction_charts import draw
from solon.reporting.variants import LABELS
from solon.runs.files import write_atomically
from solon.stats.claim_verdicts import RULES, ClaimVerdict
from solon.stats.intervals import interval, per_cent

PAGE, TABLE = "reproduction.html", "reproduction.md"
TONES = {
    ClaimVerdict.HOLDS: "yes",
    ClaimVerdict.FAILS: "no",
    ClaimVerdict.UNCLEAR: "partly",
    ClaimVerdict.NOT_SHOWN: "unknown",
}
"""The classes of the verdicts' colours."""


def found_in_words(check: ClaimCheck) -> str:
    """The figure of a check with its interval and unit, and the margin where there is one."""
    found = check.found
    shown = (found.value, found.low, found.high)
    if check.quantity is Quantity.SHARE:
        value, low, high = (f"{100 * each:+.1f}" for each in shown)
        margin = f"{100 * check.margin:g}"
    elif check.quantity is Quantity.ELO:
        value, low, high = (f"{each:+.0f}" for each in shown)
        margin = f"{check.margin:g}"
    elif check.quantity is Quantity.ERROR:
        value, low, high = (f"{each:.3f}" for each in shown)
        margin = f"{check.margin:g}"
    else:
        value, low, high = (f"{each:+.2f}" for each in shown)
        margin = f"{check.margin:.2f}"
    unit = "" if check.quantity in (Quantity.ERROR, Quantity.SCORE) else f" {check.quantity}"
    within = f" (margin {margin})" if check.margin else ""
    return f"{value} [{low} to {high}]{unit}{within}"


def verdict_in_words(figure: PaperFigure) -> str:
    """A figure's verdict, and how many of its checks hold: `does not hold (3 of 4 checks hold)`."""
    if not figure.checks:
        return str(figure.verdict)
    holding = sum(check.verdict is ClaimVerdict.HOLDS for check in figure.checks)
    return f"{figure.verdict} ({holding} of {len(figure.checks)} checks hold)"


def rules_in_words() -> list[tuple[str, str]]:
    """Each expectation, and when its check holds and does not hold."""
    return [(str(each), f"holds when {holds}; does not hold when {fails}") for each, (holds, fails) in RULES.items()]


def summary(results: ReproductionResults) -> str:
    """How many figures have which verdict."""
    counts = Counter(figure.verdict for figure in results.figures)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ClaimVerdict if counts[verdict])


def write_reproduction(results: ReproductionResults, folder: Path) -> Path:
    """Write the page and the Markdown file to `folder`; returns the path of the page."""
    write_atomically(folder / TABLE, markdown(results))
    head, rows = _replies(results)
    page = fill(
        "reproduction.html",
        results=results,
        summary=summary(results),
        figures=[
            {
                "figure": figure,
                "verdict": verdict_in_words(figure),
                "tone": TONES[figure.verdict],
                "plots": list(_plots(figure)),
                "checks": [(each, found_in_words(each), TONES[each.verdict]) for each in figure.checks],
            }
            for figure in results.figures
        ],
        rules=rules_in_words(),
        head=head,
        rows=rows,
        minutes=[(name, f"{minutes:.1f}") for name, minutes in results.minutes.items()],
        total=f"{sum(results.minutes.values()):.0f}",
    )
    return write_page(folder / PAGE, page)


def markdown(results: ReproductionResults) -> str:
    """A table of the figures, one of all checks, and one of the final models' replies."""
    figures = [
        [str(each.number), each.title, each.claim, verdict_in_words(each), " ".join(each.missing) or "-"]
        for each in results.figures
    ]
    checks = [
        [str(each.number), check.says, found_in_words(check), str(check.verdict)]
        for each in results.figures
        for check in each.checks
    ]
    head, rows = _replies(results)
    parts = [
        _table(("figure", "what", "the paper's claim", "here", "not shown"), figures),
        _table(("figure", "check", "difference [95 % interval]", "verdict"), checks),
        _table(("model", *head), rows),
        *(f"Warning: {line}\n" for line in results.warnings),
    ]
    return "\n".join(parts)


def _plots(figure: PaperFigure) -> Iterator[tuple[str, Markup]]:
    for plot in figure.plots:
        if (drawn := draw(plot)) is not None:
            yield plot.title, drawn


def _replies(results: ReproductionResults) -> tuple[list[str], list[list[str]]]:
    """The oracle's shares of every final model's replies."""
    head = [label for label in LABELS if any(label in measures for measures in results.replies.values())]
    rows = [
        [
            name,
            *(
                f"{per_cent(measures[label]['value'])} [{interval(measures[label])}]" if label in measures else "-"
                for label in head
            ),
        ]
        for name, measures in results.replies.items()
    ]
    return head, rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in lines)
