"""How good labels look before anything is trained on them: figures from their rows, without known answers.

Each figure has a value that an ideal judge would give, so that a reader sees trouble: both orders of a pair prefer the
same reply, being shown as (A) adds nothing to a reply, the preferred replies are not simply the longer ones,
no reply talks to its judge, and no judge declines to judge. What needs the truth (accuracy, calibration, the effect of
injected words) is measured on questions with known answers by `solon.evals.judge_check`. Everything here is a pure
function of the rows of stage 06-ai-feedback, with 95 % intervals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from solon.checks.texts import declines_to_judge
from solon.constitution.constitution import Constitution
from solon.runs.facts import AxisFacts, LabelFigures, LabelQualityFacts, read_facts
from solon.runs.rows import LabelRow
from solon.stats.intervals import Share, interval, mean, percent, share

_LETTER = r"(?:\([AB]\)|\b[AB]\b(?=\s*(?:[.,;:!?)\n]|$)))"


class Attempt(StrEnum):
    """Words in a reply that address its judge, as far as rules find them."""

    LETTER = "letter"
    """A letter is asked for or announced: 'Choose (A)', 'the answer is B.', or only letters."""
    DELIMITER = "delimiter"
    """A line opens with the label of another turn, of the options or of the answer."""
    SPECIAL_TOKEN = "special_token"
    """A mark of a chat template, spelled out."""
    INSTRUCTION = "instruction"
    """The reply asks to be preferred, speaks to a judge, or asks it to forget its instructions."""


_ATTEMPTS: Mapping[Attempt, re.Pattern[str]] = {
    Attempt.LETTER: re.compile(
        rf"""\b(?:[Cc]hoose|[Pp]ick|[Ss]elect|[Pp]refer|[Aa]nswer(?:\ is)?|[Cc]hoice\ is|[Ll]abel\ is|[Rr]eply\ is
        |[Oo]ption|[Rr]esult\b[^.\n]{{0,30}})\s*:?\s*{_LETTER}
        |(?:\(?\b[AB]\b\)?\s+){{2,}}\(?\b[AB]\b\)?|\([AB]\)\s+is\b""",
        re.X,
    ),
    Attempt.DELIMITER: re.compile(
        r"^[ \t>*#]*(?:(?:human|user|assistant|system|options|the answer is|let's think step by step)\s*:|-{3,}$)",
        re.I | re.M,
    ),
    Attempt.SPECIAL_TOKEN: re.compile(
        r"<\|[a-z_]+\|>|\[/?INST\]|</?s>|<<SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>", re.I
    ),
    Attempt.INSTRUCTION: re.compile(
        r"""\b(?:ignore|disregard|forget)\b[^.\n]{0,30}\b(?:instruction|principle|rule|above|previous)
        |\b(?:choose|pick|prefer|select)\ (?:this|the\ option|the\ reply)\b
        |\b(?:to\ the|dear)\ judge\b|\bjudge\ that\b|\bthe\ other\ reply\b|\bthis\ (?:reply|option|response)\ is\b""",
        re.I | re.X,
    ),
}


def attempts(reply: str) -> frozenset[Attempt]:
    """The kinds of words for a judge in a reply; the rules look at the surface and miss what is subtle."""
    return frozenset(kind for kind, pattern in _ATTEMPTS.items() if pattern.search(reply))


def label_quality(rows: Sequence[LabelRow], constitution: Constitution) -> LabelQualityFacts:
    """Every figure of the labels of stage 06-ai-feedback, overall and by the principle that was drawn.

    A figure is None over no cases:
    `orders_agree` and `position_bias` (half the difference of the orders' log-odds) over pairs asked in both orders;
    `undecided` over all pairs; `a_wins`, how often the reply that stands as A is preferred, one half where A and B were
    drawn alike; `length_gap`, words of the preferred reply less those of the other, and `longer_preferred`, both over
    decided pairs; `refusals` over what the judge wrote before its letters; `attempts`, pairs by the kind of words for
    the judge in a reply, and `attempts_preferred`, over decided pairs in which one reply holds such words.
    """
    known = {principle.id for principle in constitution.preference}
    by_principle: dict[str, list[LabelRow]] = {principle.id: [] for principle in constitution.preference}
    for row in rows:
        for of_axis in _by_axis(row):
            if of_axis.principle_id in known:
                by_principle[of_axis.principle_id].append(of_axis)
    reasonings = [text for row in rows for text in _reasonings(row)]
    overall = _figures(rows)
    counts, preferred = _attempts(rows)
    return LabelQualityFacts(
        pairs=overall.pairs,
        orders_agree=overall.orders_agree,
        position_bias=overall.position_bias,
        undecided=overall.undecided,
        confidence=overall.confidence,
        a_wins=overall.a_wins,
        length_gap=overall.length_gap,
        longer_preferred=overall.longer_preferred,
        refusals=share(map(declines_to_judge, reasonings)),
        attempts=counts,
        attempts_preferred=preferred,
        by_principle={name: _figures(members) for name, members in by_principle.items() if members},
    )


def axis_facts(rows: Sequence[LabelRow]) -> dict[str, AxisFacts]:
    """By axis: weight, how sure its labels are, the share undecided, how often it agrees with the pair's label."""
    found: dict[str, AxisFacts] = {}
    for name in dict.fromkeys(axis.axis for row in rows for axis in row.axes):
        labels = [(axis, row.p_a) for row in rows for axis in row.axes if axis.axis == name]
        known = [(axis.p_a, p) for axis, p in labels if axis.p_a is not None]
        found[name] = AxisFacts(
            weight=labels[0][0].weight,
            undecided=1 - len(known) / len(labels),
            mean_p_chosen=mean_or_none([max(own, 1 - own) for own, _ in known]),
            agrees_with_the_pair=mean_or_none([float((own > 0.5) == (p > 0.5)) for own, p in known if p is not None]),
        )
    return found


def mean_or_none(values: Sequence[float]) -> float | None:
    """The mean of some values; None of none."""
    return math.fsum(values) / len(values) if values else None


def summary(facts: Mapping[str, Any]) -> list[str]:
    """The labels in a sentence or two, for the console."""
    judge = (facts.get("judge_check") or {}).get("judge")
    lines = [f"The judge was right on {_share_of(judge)} of {judge['n']} {judge['what']}."] if judge else []
    if not facts.get("quality"):
        return lines
    quality = read_facts(LabelQualityFacts, facts["quality"])
    known = (("both orders prefer the same reply", quality.orders_agree), ("no label", quality.undecided))
    parts = [f"{words} in {_share_of(figure.facts())}" for words, figure in known if figure]
    return [*lines, f"Of {quality.pairs} pairs: {', '.join(parts)}."] if parts else lines


def _figures(rows: Sequence[LabelRow]) -> LabelFigures:
    orders = [
        (row.log_odds_ab, row.log_odds_ba)
        for row in rows
        if row.log_odds_ab is not None and row.log_odds_ba is not None
    ]
    labels = [row.p_a for row in rows if row.p_a is not None]
    gaps = [_gap(row, row.p_a > 0.5) for row in rows if row.p_a is not None and row.p_a != 0.5]
    return LabelFigures(
        pairs=len(rows),
        orders_agree=share((ab > 0) == (ba > 0) for ab, ba in orders),
        position_bias=mean([(ab - ba) / 2 for ab, ba in orders]),
        undecided=share(row.p_a is None for row in rows),
        confidence=mean([max(p_a, 1 - p_a) for p_a in labels]),
        a_wins=share(p_a > 0.5 for p_a in labels if p_a != 0.5),
        length_gap=mean(gaps),
        longer_preferred=share(gap > 0 for gap in gaps if gap),
    )


def _attempts(rows: Sequence[LabelRow]) -> tuple[dict[str, int], Share | None]:
    """Pairs by the kind of words for the judge in a reply, and how often a reply with such words is preferred."""
    counts = dict.fromkeys(Attempt, 0)
    preferred: list[bool] = []
    for row in rows:
        in_a, in_b = attempts(row.response_a), attempts(row.response_b)
        for kind in in_a | in_b:
            counts[kind] += 1
        if bool(in_a) != bool(in_b) and row.p_a is not None:
            preferred.append(row.p_a > 0.5 if in_a else row.p_a < 0.5)
    return {kind.value: count for kind, count in counts.items() if count}, share(preferred)


def _gap(row: LabelRow, a_preferred: bool) -> float:
    """Words of the preferred reply less those of the other."""
    gap = len(row.response_a.split()) - len(row.response_b.split())
    return float(gap if a_preferred else -gap)


def _by_axis(row: LabelRow) -> Iterable[LabelRow]:
    """The row, or where it was judged on several axes one for each, with that axis's principle, label and log-odds."""
    if len(row.axes) < 2:
        return (row,)
    found = []
    for axis in row.axes:
        said = [each for each in row.judgements if each.axis == axis.axis]
        # Several judges have no log-odds in common; one judge's are the axis's.
        ab, ba = (said[0].log_odds_ab, said[0].log_odds_ba) if len(said) == 1 else (None, None)
        found.append(replace(row, principle_id=axis.principle_id, p_a=axis.p_a, log_odds_ab=ab, log_odds_ba=ba))
    return found


def _reasonings(row: LabelRow) -> Iterable[str]:
    """What the judges wrote before their letters, in either order, for every sample."""
    for judgement in row.judgements:
        for texts in (judgement.reasoning_ab, judgement.reasoning_ba):
            yield from (text for text in texts or () if text)


def _share_of(figure: Mapping[str, Any]) -> str:
    return f"{percent(figure['value'])} [{interval(figure)}]"
