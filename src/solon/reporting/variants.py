"""The plots of an ablation, and their self-contained page.

Like the run's report, the page escapes every text and allows nothing but its own style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from solon.config.experiment import AblationMeasure
from solon.evals.measures import BUILT_IN
from solon.reporting.charts import Figures, end_labels, series, trade_off
from solon.reporting.page import fill
from solon.reporting.page import write_page as write_whole
from solon.reporting.share_figures import dots
from solon.reporting.svg import PlotFrame, line, percent_marks, tag, text
from solon.reporting.visible_text import cases
from solon.stages.extra_preference_order import MEASURES
from solon.stats.intervals import interval, percent

PAGE = "ablation.html"
LABELS = tuple(each.name for each in BUILT_IN if each.label is not None)
HARMFUL = "harmful"
EVASIVE = "evasive"
Measures = Mapping[str, Figures]


def by_variant_and_revision(variants: Mapping[str, Mapping[str, Mapping[str, Figures]]], label: str) -> Markup | None:
    """The share of one label by revision, a line with intervals for every variant of an ablation."""
    steps = sorted({int(step) for figures in variants.values() for step in figures})
    if len(steps) < 2:
        return None
    frame = PlotFrame.of((620, 360), (-0.2, steps[-1] + 0.2), (0.0, 1.0), (30, 130, 46, 50))
    x_marks = [(float(step), "reply" if step == 0 else str(step)) for step in steps]
    pieces = [frame.axes("revision", f"{label} replies to red-team prompts", x_marks, percent_marks(0, 1))]
    ends: list[tuple[float, str, str]] = []
    for index, (name, figures) in enumerate(variants.items()):
        # Shifted sideways, so that intervals do not cover each other.
        aside = 0.05 * (index - (len(variants) - 1) / 2)
        points = [
            (int(step) + aside, shares[label], f"{name}, revision {step}: {_in_words(label, shares[label])}")
            for step, shares in sorted(figures.items(), key=lambda item: int(item[0]))
        ]
        pieces.append(series(frame, points, f"tone-{index % 8}"))
        ends.append((frame.y(points[-1][1]["value"]), name, f"tone-{index % 8}"))
    names = end_labels(frame, ends, gap=8)
    return frame.figure(f"{label} replies by variant and revision, with 95 % intervals", *pieces, *names)


def by_variant(variants: Mapping[str, Mapping[str, Figures]], labels: Sequence[str]) -> Markup | None:
    """Shares of several labels, a point with its interval for every variant of an ablation, joined by label."""
    if not variants:
        return None
    frame = PlotFrame.of((620, 360), (-0.3, len(variants) - 0.7), (0.0, 1.0), (30, 110, 46, 50))
    x_marks = [(float(index), name) for index, name in enumerate(variants)]
    pieces = [frame.axes("", "share of replies to held-out prompts", x_marks, percent_marks(0, 1))]
    ends: list[tuple[float, str, str]] = []
    for order, label in enumerate(labels):
        aside = 0.04 * (order - (len(labels) - 1) / 2)
        points = [
            (index + aside, figures[label], f"{name}: {_in_words(label, figures[label])}")
            for index, (name, figures) in enumerate(variants.items())
            if label in figures
        ]
        if points:
            pieces.append(series(frame, points, f"label-{label}"))
            ends.append((frame.y(points[-1][1]["value"]), label, f"label-{label}"))
    return frame.figure("Replies by variant, with 95 % intervals", *pieces, *end_labels(frame, ends, gap=8))


def _in_words(measure: str, share: Figures) -> str:
    return f"{measure} {percent(share['value'])} [{interval(share)}] of {cases(share)}"


def by_row(variants: Mapping[str, Mapping[str, Figures]], measures: Sequence[str]) -> Markup | None:
    """Accuracies of several kinds, a row for every variant of an ablation; the dashed line is chance."""
    if not variants:
        return None
    lows = [share["low"] for figures in variants.values() for share in figures.values()]
    lowest = min(0.4, math.floor(10 * min(lows, default=0.4)) / 10)
    frame = PlotFrame.of((620, 76 + 30 * len(variants)), (lowest, 1.0), (-0.5, len(variants) - 0.5), (30, 20, 46, 150))
    # The first variant is on top.
    rows = {name: float(len(variants) - 1 - index) for index, name in enumerate(variants)}
    what = "pairs of replies to held-out prompts in the right order"
    names = [(place, name) for name, place in rows.items()]
    pieces = [frame.axes(what, "", percent_marks(lowest, 1.0, 6), names)]
    pieces.append(line((frame.x(0.5), frame.y.start), (frame.x(0.5), frame.y.end), "path"))
    for order, measure in enumerate(measures):
        marks = []
        aside = 0.16 * (order - (len(measures) - 1) / 2)
        for name, figures in variants.items():
            if (share := figures.get(measure)) is None:
                continue
            x, y = frame.x(share["value"]), frame.y(rows[name] - aside)
            says = f"{name}: {_in_words(measure, share)}"
            marks.append(line((frame.x(share["low"]), y), (frame.x(share["high"]), y), "whisker"))
            marks.append(tag("circle", tag("title", says), cx=x, cy=y, r=4.0, class_="dot"))
        pieces.append(tag("g", *marks, class_=f"label-{measure}"))
        place = frame.x.end - 90 * (len(measures) - 1 - order)
        pieces.append(text(place, 11, measure, f"point-name label-{measure}", "end"))
    return frame.figure("Preference models by variant, with 95 % intervals", *pieces)


def columns_of(figures: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[Figures | None]]]]:
    """An ablation's table: the names of its columns, and by variant a share or None for each of them.

    By revision these are shares of harmful replies; of a model, one column per label, and with whole runs a row for
    every model; of a preference model, one column per quality.
    """
    variants: Mapping[str, Mapping[str, Any]] = figures["variants"]
    if figures["measure"] == AblationMeasure.MODELS:
        variants = by_name(variants)
    if figures["measure"] != AblationMeasure.REVISIONS:
        columns = MEASURES if figures["measure"] == AblationMeasure.PREFERENCE_MODEL else LABELS
        return list(columns), [(name, [shares.get(label) for label in columns]) for name, shares in variants.items()]
    steps = sorted({int(step) for shares in variants.values() for step in shares})
    head = ["reply" if step == 0 else f"revision {step}" for step in steps]
    return head, [
        (name, [shares.get(str(step), {}).get(HARMFUL) for step in steps]) for name, shares in variants.items()
    ]


def figures_of(figures: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The pictures of an ablation's figures, each with a caption, empty where the axes need none."""
    variants, measure = figures["variants"], AblationMeasure(figures["measure"])
    if measure is AblationMeasure.MODELS:
        return models_figures(variants)
    if measure is AblationMeasure.SL_CAI:
        drawn = by_variant(variants, LABELS)
    elif measure is AblationMeasure.PREFERENCE_MODEL:
        drawn = by_row(variants, MEASURES)
    else:
        drawn = by_variant_and_revision(variants, HARMFUL)
    return [] if drawn is None else [("", drawn)]


def what_is_shown(figures: Mapping[str, Any]) -> str:
    """What the shares in an ablation's table count."""
    shown = {
        AblationMeasure.REVISIONS: "Share of harmful replies to red-team prompts",
        AblationMeasure.SL_CAI: "Share of replies to held-out prompts",
        AblationMeasure.MODELS: "Share of replies to held-out prompts",
        AblationMeasure.PREFERENCE_MODEL: "Share of pairs of replies to held-out prompts in the right order",
    }
    return shown[AblationMeasure(figures["measure"])]


def caption_of(figures: Mapping[str, Any]) -> str:
    """The caption of an ablation's table: what the cells are, and the number of seeds if they are means."""
    count = len(figures.get("seeds", ()))
    return f"{what_is_shown(figures)}, % [95 % interval] " + (f"over {count} seeds" if count > 1 else "of n")


def is_mean(share: Figures) -> bool:
    """Whether a share is a mean over several seeds."""
    return "by_seed" in share


def write_page(figures: Mapping[str, Any], folder: Path) -> Path:
    """Write the page of an ablation to its folder; returns its path."""
    head, rows = columns_of(figures)
    page = fill(
        "ablation.html",
        name=figures["name"],
        question=figures["question"],
        figures=figures_of(figures),
        caption=caption_of(figures),
        head=head,
        rows=[(name, [_cell(share) for share in shares]) for name, shares in rows],
    )
    return write_whole(folder / PAGE, page)


def _cell(share: Figures | None) -> str:
    if share is None:
        return "-"
    return f"{percent(share['value'])} [{interval(share)}]" + ("" if is_mean(share) else f" of {cases(share)}")


def by_name(variants: Mapping[str, Mapping[str, Measures]]) -> dict[str, Measures]:
    """The measures of all models by displayed name, the final policies of the runs last.

    The runs of one comparison share the models that they start from, so each of these appears once. A run's final
    policy has the name of its variant.
    """
    earlier: dict[str, Measures] = {}
    final: dict[str, Measures] = {}
    for variant, models in variants.items():
        *before, policy = models
        for name in before:
            same = earlier.setdefault(name, models[name]) == models[name]
            if not same:
                earlier[f"{variant}: {name}"] = models[name]
        final[variant] = models[policy]
    return earlier | final


def models_figures(variants: Mapping[str, Mapping[str, Measures]]) -> list[tuple[str, Markup]]:
    """Helpfulness against harmlessness, and the share of evasive replies, with captions and 95 % intervals."""
    models = by_name(variants)
    shares = [(name, measures[EVASIVE], "label-evasive") for name, measures in models.items() if EVASIVE in measures]
    evasive = "Evasive replies to held-out harmful prompts"
    pictures = [
        ("Helpful and harmless on held-out prompts; up and right is better", trade_off(models, ())),
        (evasive, dots(shares)),
    ]
    return [(caption, picture) for caption, picture in pictures if picture is not None]
