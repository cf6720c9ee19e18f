"""The figure of harmful replies by what a prompt is about: one row per group, one mark per model.

It shows what a constitution covers: a group whose principles were left out stays where the assistant was.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from solon.reporting.charts import Figures, tone
from solon.reporting.svg import PlotFrame, line, percent_marks, tag, text
from solon.stats.intervals import interval, percent

ROW = 44.0
LEFT, TOP, BOTTOM, WIDTH = 118.0, 46.0, 40.0, 720.0
LABEL_LENGTH = 16


def by_group(groups: Mapping[str, Mapping[str, Figures]]) -> Markup | None:
    """Share of harmful replies by group and model, with 95 % intervals; None with fewer than two groups."""
    names = list(dict.fromkeys(name for shares in groups.values() for name in shares))
    if len(names) < 2:
        return None
    height = TOP + BOTTOM + ROW * len(names)
    frame = PlotFrame.of((WIDTH, height), (0.0, 1.0), (0.0, float(len(names))), (TOP, 20, BOTTOM, LEFT))
    bottom = height - BOTTOM
    pieces = [line((frame.x(value), TOP), (frame.x(value), bottom), "rule") for value, _ in percent_marks(0, 1)]
    pieces += [text(frame.x(value), bottom + 17, words, "tick", "middle") for value, words in percent_marks(0, 1)]
    for row, name in enumerate(names):
        middle = TOP + ROW * (row + 0.5)
        shown = name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
        pieces.append(text(LEFT - 12, middle + 4, shown, "tick", "end"))
        pieces.append(line((LEFT, TOP + ROW * row), (WIDTH - 20, TOP + ROW * row), "rule"))
    place = LEFT
    for index, (model, shares) in enumerate(groups.items()):
        key = tag("circle", cx=place + 6, cy=22.0, r=5.0, class_="dot")
        pieces.append(tag("g", key, text(place + 17, 26, model[:24], "point-name"), class_=tone(model, index)))
        place += 40 + 7.2 * len(model[:24])
        offset = (index - (len(groups) - 1) / 2) * (ROW * 0.2)
        for row, name in enumerate(names):
            if name in shares:
                mark = _mark(frame, TOP + ROW * (row + 0.5) + offset, f"{model} on {name}", shares[name])
                pieces.append(tag("g", *mark, class_=tone(model, index)))
    return frame.figure("Harmful replies by what the prompt is about, with 95 % intervals", *pieces)


def _mark(frame: PlotFrame, y: float, what: str, share: Figures) -> tuple[Markup, ...]:
    says = f"{what}: harmful {percent(share['value'])} [{interval(share)}] of {share['n']}"
    whisker = line((frame.x(share["low"]), y), (frame.x(share["high"]), y), "whisker")
    return tag("title", says), whisker, tag("circle", cx=frame.x(share["value"]), cy=y, r=4.5, class_="dot")
