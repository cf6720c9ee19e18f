"""The figures of an attack, from its rows alone: failing shares by round, variety, topics, and lines for the console.

A share over no cases is None. The openings of all prompts are read for as many words, so that the variety of a large
and a small set compares (`solon.stats.variety`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from solon.checks.red_team_rules import PromptRule
from solon.config.attack_settings import AttackSettings
from solon.conversation import Conversation
from solon.evals.grading import Label
from solon.runs.attack_facts import AttackFacts, AttackRoundFacts
from solon.runs.evaluation_rows import AttackOrigin, AttackRow
from solon.sources.near_duplicates import words_of
from solon.stats.intervals import Mean, Share, interval, percent, share
from solon.stats.variety import variety_of_openings

_REPEATS = {PromptRule.DUPLICATE.value, PromptRule.NEAR_DUPLICATE.value}
OTHER_TOPIC = "other"
"""The topic of a prompt that the grader knows no topic of."""


def kept_rows(rows: Iterable[AttackRow]) -> list[AttackRow]:
    """The prompts of the writer that the policy failed."""
    return [row for row in rows if row.origin is AttackOrigin.MODEL and row.fails]


def attack_facts(
    rows: Sequence[AttackRow], settings: AttackSettings, policy: str, writer: str, grader: str | None
) -> AttackFacts:
    """All figures; `grader` is the name of who labelled the replies, if anybody did."""
    rated = grader is not None
    human = [row for row in rows if row.origin is AttackOrigin.HUMAN]
    written = [row for row in rows if row.origin is AttackOrigin.MODEL]
    kept = kept_rows(rows)
    rounds = range(1 if not human else 0, settings.rounds + 1)
    return AttackFacts(
        policy=policy,
        writer=writer,
        scored_by=settings.scored_by.value,
        threshold=settings.limit,
        references=settings.references if settings.compares else 0,
        grader=grader,
        rounds=tuple(round_facts(number, [row for row in rows if row.round == number], rated) for number in rounds),
        human=failing(human),
        failing=failing(written),
        kept=len(kept),
        generations=max((row.generation for row in kept), default=0),
        distinct_2=_variety(row.prompt for row in kept),
        distinct_2_human=_variety(row.prompt for row in human),
        topics=_topics(written) if rated else {},
        agreement=share((Label.HARMFUL in row.labels) == row.fails for row in _scored(rows)) if rated else None,
    )


def round_facts(number: int, rows: Sequence[AttackRow], rated: bool) -> AttackRoundFacts:
    """The figures of one round's rows."""
    items = [row for row in rows if row.origin is AttackOrigin.MODEL]
    tested = [row for row in rows if row.seed is not None]
    well_formed = [row for row in items if row.seed is not None or _REPEATS & set(row.defects)]
    return AttackRoundFacts(
        round=number,
        requests=len({row.request for row in items}),
        written=len(items),
        rules=dict(Counter(rule for row in items if row.seed is None for rule in row.defects).most_common()),
        tested=len(tested),
        unscored=sum(row.fails is None for row in tested),
        failing=failing(tested),
        kept=len(kept_rows(tested)),
        varied=failing(row for row in items if row.varied_from),
        fresh=failing(row for row in items if not row.varied_from),
        harmful=share(Label.HARMFUL in row.labels for row in _scored(tested)) if rated else None,
        repeats=share(row.seed is None for row in well_formed),
        distinct_2=_variety(row.prompt for row in tested),
        topics=_topics(tested) if rated else {},
    )


def failing(rows: Iterable[AttackRow]) -> Share | None:
    """The share of scored replies that fail."""
    return share(bool(row.fails) for row in _scored(rows))


def summary_lines(facts: AttackFacts) -> Iterator[str]:
    """What the attack found, in sentences."""
    before = f"; of human ones {_words(facts.human)}" if facts.human else ""
    if facts.failing is None:
        yield f"It is not known what the policy fails: no reply to a written prompt has a score{before}."
    else:
        yield f"The policy failed {_words(facts.failing)} of the prompts that the model wrote{before}."
    if unscored := sum(each.unscored for each in facts.rounds):
        tested = sum(each.tested for each in facts.rounds)
        yield f"{unscored:,} of {tested:,} replies have no score and are in no share."
    if facts.kept:
        variety = f", distinct pairs of words {facts.distinct_2.value:.2f}" if facts.distinct_2 else ""
        human = f" (human prompts {facts.distinct_2_human.value:.2f})" if facts.distinct_2_human else ""
        yield f"{facts.kept:,} prompts are kept, up to {facts.generations} variations deep{variety}{human}."
    worst = sorted(facts.topics.items(), key=lambda item: (-item[1].value * item[1].n, item[0]))[:3]
    if listed := ", ".join(f"{topic} {_words(found)}" for topic, found in worst if found.value):
        yield f"Most were found about: {listed}."
    if facts.agreement is not None:
        yield f"The score agrees with the grader '{facts.grader}' on {_words(facts.agreement)} of the replies."


def _words(figure: Share) -> str:
    return f"{percent(figure.value)} [{interval(figure.facts())}] of {figure.n}"


def _scored(rows: Iterable[AttackRow]) -> Iterator[AttackRow]:
    return (row for row in rows if row.fails is not None)


def _variety(prompts: Iterable[Conversation]) -> Mean | None:
    return variety_of_openings([words_of(prompt) for prompt in prompts], 2)


def _topics(rows: Iterable[AttackRow]) -> Mapping[str, Share]:
    """The failing share by topic, in the order of their names."""
    by_topic: dict[str, list[bool]] = {}
    for row in _scored(rows):
        by_topic.setdefault(row.group or OTHER_TOPIC, []).append(bool(row.fails))
    return {topic: found for topic in sorted(by_topic) if (found := share(by_topic[topic])) is not None}
