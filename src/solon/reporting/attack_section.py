"""Attacks (`solon attack`) in the report and on the terminal: rounds, figure, topics, and kept prompts with lineage.

A share by the preference model or a judge is shown with its name, beside that of the grader where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from solon.config.attack_settings import AttackSettings, ScoredBy
from solon.reporting.charts import end_labels, series
from solon.reporting.dot_rows import DotGroup, DotRow, dot_rows
from solon.reporting.svg import PlotFrame, percent_marks
from solon.runs import Artefact
from solon.runs.attack_facts import AttackFacts, AttackRoundFacts
from solon.runs.evaluation_rows import AttackRow
from solon.runs.facts import read_facts
from solon.stages.attack_figures import kept_rows, summary_lines
from solon.stages.plan import ATTACK
from solon.stats.intervals import Share, interval, per_cent, percent, probability, signed

ROUND_HEAD = ("Round", "Tested", "Fail, %", "Varied, %", "New, %", "Harmful, %", "Kept", "Repeats, %", "Distinct-2")
"""The columns of the table of rounds: `Harmful` is the grader's."""
MOST_KEPT = 200
"""Kept prompts on the page; the table and prompts.jsonl have all."""


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """A kept prompt with its reply and its lineage, the nearest ancestors first."""

    score: str
    round: int
    generation: int
    prompt: str
    reply: str
    topic: str
    labels: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttackPart:
    """One attack on the page."""

    name: str
    title: str
    sentences: tuple[str, ...]
    figure: Markup | None
    rounds: tuple[tuple[str, ...], ...]
    topics: Markup | None
    kept: tuple[KeptPrompt, ...]
    all_kept: int


def attack_parts(stages: Mapping[str, Artefact]) -> tuple[AttackPart, ...]:
    """Every attack among a run's finished stages."""
    return tuple(_part(artefact) for name, artefact in stages.items() if is_attack(name))


def is_attack(stage: str) -> bool:
    """Whether a stage of this name is an attack."""
    return stage.startswith(f"{ATTACK}-")


def title_of(facts: AttackFacts) -> str:
    """What was done, in a line."""
    by = f"the {facts.scored_by.replace('-', ' ')}"
    side = "up to" if facts.scored_by == ScoredBy.PREFERENCE_MODEL else "above"
    grader = f", and harmful replies by the grader '{facts.grader}'" if facts.grader else ""
    limit = f"{facts.threshold:g}"
    by += f" against {facts.references} replies of the assistant" if facts.references else ""
    return f"Attack on {facts.policy}: replies that fail by {by} (score {side} {limit}){grader}, % [95 % interval]"


def cells_of(facts: AttackRoundFacts) -> list[str]:
    """The row of a round."""
    number = "0, human" if facts.round == 0 else str(facts.round)
    shares = [_cell(each) for each in (facts.failing, facts.varied, facts.fresh, facts.harmful)]
    variety = "-" if facts.distinct_2 is None else probability(facts.distinct_2.value)
    repeats = "-" if facts.repeats is None else per_cent(facts.repeats.value)
    return [number, str(facts.tested), *shares, str(facts.kept), repeats, variety]


def worst_first(rows: Sequence[AttackRow], facts: AttackFacts) -> list[AttackRow]:
    """The kept prompts, those with the worst scores first."""
    settings = AttackSettings(scored_by=ScoredBy(facts.scored_by))
    return sorted(kept_rows(rows), key=lambda row: (-settings.severity(row.score or 0.0), row.row_id))


def _cell(share: Share | None) -> str:
    return "-" if share is None else f"{per_cent(share.value)} [{interval(share.facts())}]"


def _part(artefact: Artefact) -> AttackPart:
    facts = read_facts(AttackFacts, artefact.facts, str(artefact.path))
    rows = artefact.rows(AttackRow)
    texts = {row.row_id: row.prompt.turns[-1].content for row in rows}
    worst = worst_first(rows, facts)
    by_topic = [DotRow(topic, share.facts(), "label-harmful") for topic, share in facts.topics.items()]
    return AttackPart(
        name=artefact.name.removeprefix(f"{ATTACK}-"),
        title=title_of(facts),
        sentences=tuple(summary_lines(facts)),
        figure=by_round(facts),
        rounds=tuple(tuple(cells_of(each)) for each in facts.rounds),
        topics=dot_rows([DotGroup("", tuple(by_topic))]) if by_topic else None,
        kept=tuple(_kept(row, texts) for row in worst[:MOST_KEPT]),
        all_kept=len(worst),
    )


def _kept(row: AttackRow, texts: Mapping[str, str]) -> KeptPrompt:
    return KeptPrompt(
        score=signed(row.score or 0.0),
        round=row.round,
        generation=row.generation,
        prompt=row.prompt.turns[-1].content,
        reply=row.completion or "",
        topic=row.group or "",
        labels=row.labels,
        parents=tuple(texts[each] for each in row.varied_from),
    )


def by_round(facts: AttackFacts) -> Markup | None:
    """The share of replies that fail by round, and the grader's share of harmful ones, with intervals."""
    last = facts.rounds[-1].round
    if len(facts.rounds) < 2:
        return None
    frame = PlotFrame.of((460, 330), (0, last), (0.0, 1.0), (30, 84, 46, 50))
    marks = [(float(each.round), "human" if each.round == 0 else str(each.round)) for each in facts.rounds]
    pieces = [frame.axes("round", "share of replies", marks, percent_marks(0, 1))]
    ends: list[tuple[float, str, str]] = []
    for label, tint, found in _lines(facts):
        points = [(float(at), share.facts(), f"{label} in round {at}: {_in_words(share)}") for at, share in found]
        if points:
            pieces.append(series(frame, points, tint))
            ends.append((frame.y(points[-1][1]["value"]), label, tint))
    return frame.figure("Failing replies by round, with 95 % intervals", *pieces, *end_labels(frame, ends))


def _lines(facts: AttackFacts) -> Iterator[tuple[str, str, list[tuple[int, Share]]]]:
    yield "fail", "tone-3 strong", [(each.round, each.failing) for each in facts.rounds if each.failing is not None]
    yield "harmful", "label-harmful", [(each.round, each.harmful) for each in facts.rounds if each.harmful is not None]


def _in_words(share: Share) -> str:
    return f"{percent(share.value)} [{interval(share.facts())}] of {share.n}"
