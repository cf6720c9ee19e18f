"""The page of an edit's effect: what was edited beside what changed, in the style of the report.

The page is closed and escapes every text, as the report does (`solon.reporting.page`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from solon.constitution.diff import Change
from solon.reporting.effect.behaviour_change import BehaviourChanges, MeasureChange, WinRateChange
from solon.reporting.effect.changed_replies import ChangedReply
from solon.reporting.effect.edit_cost import EditCost
from solon.reporting.effect.edit_effect import ABOUT, EditEffect, clear_change, headline, points
from solon.reporting.page import fill, write_page
from solon.reporting.samples import Said, prompt_of
from solon.reporting.svg import tag
from solon.reporting.visible_text import TextPiece, changes, clip
from solon.stats.intervals import Mean, percent
from solon.stats.paired import PairedDifference

PAGE = "effect.html"


@dataclass(frozen=True, slots=True)
class EditedText:
    """A text of the constitution before and after, in stretches of kept and of other words."""

    field: str
    old: tuple[TextPiece, ...]
    new: tuple[TextPiece, ...]


@dataclass(frozen=True, slots=True)
class EditedPart:
    """A part of the constitution that differs."""

    title: str
    edit: str
    texts: tuple[EditedText, ...]


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A share before and after, and their paired difference with its picture."""

    name: str
    about: str
    old: str
    new: str
    difference: str
    n: int
    clear: str
    """`fell`, `rose`, or empty where the interval includes zero."""
    bar: Markup


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """Differences with bars on one scale, which goes from -`scale` to +`scale` points."""

    scale: int
    lines: tuple[DifferenceLine, ...]


@dataclass(frozen=True, slots=True)
class ModelLines:
    """One model's measures; none where all its replies are the same."""

    model: str
    replies: int
    changed: int
    measures: DifferenceTable


@dataclass(frozen=True, slots=True)
class BeforeAndAfter:
    """A reply before and after."""

    prompt: tuple[Said, ...]
    about: str
    row: str
    old: tuple[TextPiece, ...]
    new: tuple[TextPiece, ...]
    labels_old: tuple[str, ...]
    labels_new: tuple[str, ...]
    distance: str


@dataclass(frozen=True, slots=True)
class CostLine:
    """A stage with its times as shares of the longest one."""

    number: int
    stage: str
    state: str
    from_nothing: float
    seconds: float
    width_from_nothing: float
    width: float
    questions: int
    asked: int


@dataclass(frozen=True, slots=True)
class EffectPage:
    """What the template shows, with the effect itself."""

    effect: EditEffect
    headline: tuple[str, ...]
    edits: tuple[EditedPart, ...]
    models: tuple[ModelLines, ...]
    topics: tuple[tuple[str, DifferenceTable], ...]
    """By caption."""
    win_rates: DifferenceTable | None
    replies: tuple[BeforeAndAfter, ...]
    costs: tuple[CostLine, ...]


def write_effect(effect: EditEffect, output: Path | None = None) -> Path:
    """Write the page to `output`, `effect.html` in the new run's folder when None; returns its path."""
    return write_page(output if output is not None else Path(effect.new) / PAGE, render_effect(effect))


def render_effect(effect: EditEffect) -> str:
    """The page as HTML text; a pure function."""
    harmful = effect.revisions.harmful if effect.revisions else None
    return fill(
        "effect.html",
        page=content_of_effect(effect),
        effect=effect,
        harmful_points=points(harmful) if harmful is not None else "",
    )


def content_of_effect(effect: EditEffect) -> EffectPage:
    """The effect as the page shows it."""
    behaviour = effect.behaviour
    return EffectPage(
        effect=effect,
        headline=tuple(headline(effect)),
        edits=tuple(map(_edited, effect.edits)),
        models=tuple(_models(behaviour)) if behaviour else (),
        topics=tuple(_topics(behaviour)) if behaviour else (),
        win_rates=_win_rates(behaviour.win_rates) if behaviour and behaviour.win_rates else None,
        replies=tuple(map(_reply, effect.replies.most)) if effect.replies else (),
        costs=tuple(_costs(effect.cost)),
    )


def _edited(change: Change) -> EditedPart:
    texts = (
        EditedText(
            name.replace("_", " "),
            tuple(changes(clip(new or ""), clip(old or ""))) if old else (),
            tuple(changes(clip(old or ""), clip(new or ""))) if new else (),
        )
        for name, (old, new) in change.fields.items()
    )
    return EditedPart(f"{change.section} {change.id}".strip(), change.edit.value, tuple(texts))


def _models(behaviour: BehaviourChanges) -> Iterator[ModelLines]:
    """The models, the final one first."""
    for model in reversed(behaviour.models):
        found = behaviour.of(model.model) if model.changed else ()
        yield ModelLines(model.model, model.replies, model.changed, _measures(found))


def _topics(behaviour: BehaviourChanges) -> Iterator[tuple[str, DifferenceTable]]:
    """The topics of every model with other replies, the final model first; those with no other verdict are left out."""
    for model in reversed(behaviour.models):
        for measure in dict.fromkeys(each.measure for each in behaviour.topics):
            found = [each for each in behaviour.topics if (each.model, each.measure) == (model.model, measure)]
            moved = [each for each in found if each.difference.first_only or each.difference.second_only]
            if not moved:
                continue
            same = len(found) - len(moved)
            rest = f"; the other {same} topics have the same verdict on every prompt" if same else ""
            caption = (
                f"{measure.capitalize()} replies of {model.model} by topic of the {ABOUT[found[0].prompts]}{rest}."
            )
            yield caption, _measures(moved)


def _measures(found: Sequence[MeasureChange]) -> DifferenceTable:
    scale = _scale([each.difference for each in found])
    return DifferenceTable(
        scale,
        tuple(
            _line(
                each.topic or each.measure,
                "" if each.topic else ABOUT[each.prompts],
                (percent(each.old.value), percent(each.new.value)),
                each.difference,
                scale,
            )
            for each in found
        ),
    )


def _win_rates(found: Sequence[WinRateChange]) -> DifferenceTable:
    scale = _scale([each.difference for each in found])
    lines = (
        _line(
            f"{each.model} against {each.baseline}",
            ABOUT[each.prompts],
            (percent(each.old.value), percent(each.new.value)),
            each.difference,
            scale,
        )
        for each in found
    )
    return DifferenceTable(scale, tuple(lines))


def _scale(differences: Sequence[PairedDifference | Mean]) -> int:
    """Percentage points from the middle to the ends of a table's bars: ten times a whole number, at least ten."""
    most = max((max(abs(each.low), abs(each.high)) for each in differences), default=0.0)
    return min(100, max(10, 10 * math.ceil(10 * most - 1e-9)))


def _line(
    name: str, about: str, values: tuple[str, str], difference: PairedDifference | Mean, scale: int
) -> DifferenceLine:
    clear, bar = clear_change(difference) or "", difference_bar(difference, scale)
    return DifferenceLine(name, about, *values, points(difference), difference.n, clear, bar)


def difference_bar(difference: PairedDifference | Mean, scale: int) -> Markup:
    """A difference of shares from -`scale` to +`scale` points, with its interval and a mark at zero."""
    ends = (difference.value, difference.low, difference.high)
    value, low, high = (50 + 50 * max(-1.0, min(1.0, 100 * each / scale)) for each in ends)
    return tag(
        "svg",
        tag("rect", x=0.0, y=4.5, width=100.0, height=1.0, class_="track"),
        tag("rect", x=low, y=3.5, width=max(high - low, 0.5), height=3.0, class_="bar"),
        tag("rect", x=49.75, y=0.0, width=0.5, height=10.0, class_="span"),
        tag("rect", x=value - 0.6, y=1.0, width=1.2, height=8.0, class_="at"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="share-bar difference-bar",
        aria_hidden="true",
    )


def _reply(reply: ChangedReply) -> BeforeAndAfter:
    old, new = clip(reply.old), clip(reply.new)
    return BeforeAndAfter(
        prompt_of(reply.prompt),
        ABOUT[reply.kind] + (f", {reply.topic}" if reply.topic else ""),
        reply.row,
        tuple(changes(new, old)),
        tuple(changes(old, new)),
        reply.labels_old,
        reply.labels_new,
        f"{reply.distance:.2f}",
    )


def _costs(cost: EditCost) -> Iterable[CostLine]:
    longest = max([*(each.seconds for each in cost.stages), *(each.seconds_from_nothing for each in cost.stages), 1e-9])
    for each in cost.stages:
        yield CostLine(
            number=each.number,
            stage=each.stage,
            state=each.state.value,
            from_nothing=each.seconds_from_nothing,
            seconds=each.seconds,
            width_from_nothing=round(100 * each.seconds_from_nothing / longest, 1),
            width=round(100 * each.seconds / longest, 1),
            questions=each.questions,
            asked=each.asked,
        )
