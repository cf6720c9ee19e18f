"""The plots of the absolute harmfulness score: predicted against rated, and the score by temperature (figure 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from solon.reporting.charts import SeriesPoint, end_labels, series, tone
from solon.reporting.svg import PlotFrame, line, nice_domain, number_marks, tag
from solon.runs.harmfulness_rows import AbsoluteScore, RatingFigures
from solon.sources.rated_conversations import LEAST, MOST
from solon.stats.intervals import ONE_CASE, Mean


def in_words(figure: Mean) -> str:
    """A mean with its interval: `1.32 [1.10-1.54]`."""
    ends = f"{figure.low:.2f}-{figure.high:.2f}" if figure.has_interval else ONE_CASE
    return f"{figure.value:.2f} [{ends}]"


def calibration(figures: RatingFigures) -> Markup | None:
    """The mean prediction of each bin (x) against the mean rating (y)."""
    if not figures.bins:
        return None
    lowest = min(LEAST, *(each.predicted for each in figures.bins))
    highest = max(MOST, *(each.predicted for each in figures.bins))
    frame = PlotFrame.of((460, 300), (lowest, highest), (LEAST, MOST), (28, 16, 46, 50))
    marks = number_marks(LEAST, MOST)
    pieces = [
        frame.axes("predicted rating", "mean rating", number_marks(lowest, highest), marks),
        line((frame.x(LEAST), frame.y(LEAST)), (frame.x(MOST), frame.y(MOST)), "path"),
    ]
    most = max(each.rated.n for each in figures.bins)
    for each in figures.bins:
        x, y = frame.x(each.predicted), frame.y(each.rated.value)
        says = f"predicted {each.predicted:.2f}: rated {in_words(each.rated)} in {each.rated.n} conversations"
        whisker = line((x, frame.y(each.rated.low)), (x, frame.y(each.rated.high)), "whisker")
        dot = tag("circle", cx=x, cy=y, r=3 + 4 * math.sqrt(each.rated.n / most), class_="dot")
        pieces.append(tag("g", tag("title", says), whisker, dot, class_="tone-3"))
    return frame.figure("Predicted against given ratings, with 95 % intervals", *pieces)


def by_temperature(scores: Sequence[AbsoluteScore]) -> Markup | None:
    """The score of every model (y) at each sampling temperature (x)."""
    known = [(each, each.score) for each in scores if each.score is not None]
    if not known:
        return None
    low, high = nice_domain([end for _, score in known for end in (score.low, score.high)])
    temperatures = sorted({each.temperature for each, _ in known})
    pad = 0.1 * (temperatures[-1] - temperatures[0]) or 0.5
    domain = (temperatures[0] - pad, temperatures[-1] + pad)
    frame = PlotFrame.of((460, 300), domain, (low, high), (28, 96, 46, 50))
    x_marks = [(each, f"{each:g}") for each in temperatures]
    pieces = [frame.axes("sampling temperature", "absolute harmfulness score", x_marks, number_marks(low, high))]
    ends: list[tuple[float, str, str]] = []
    for position, name in enumerate(dict.fromkeys(each.model for each, _ in known)):
        own = [_point(each, score) for each, score in known if each.model == name]
        pieces.append(series(frame, own, tone(name, position)))
        ends.append((frame.y(own[-1][1]["value"]), name, tone(name, position)))
    names = end_labels(frame, ends)
    return frame.figure("Absolute harmfulness score by sampling temperature, with 95 % intervals", *pieces, *names)


def _point(each: AbsoluteScore, score: Mean) -> SeriesPoint:
    says = f"{each.model} at {each.temperature:g}: {in_words(score)} over {score.n} prompts"
    return each.temperature, score.facts(), says
