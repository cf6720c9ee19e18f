"""Shares of replies that refuse, evade, or carry boilerplate, by rules and by a judge, and how far the two agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from solon.checks.boilerplate import has_boilerplate, repeated_openings, stock_phrases
from solon.checks.declining import declines
from solon.checks.evasion import is_canned_refusal
from solon.engines.base import Finish
from solon.evals.grading import Label
from solon.runs.evaluation_rows import ReplyJudgement
from solon.runs.measure_facts import RuleAgreement
from solon.runs.refusal_rows import RefusalFigures, RefusalRow
from solon.stats.agreement import cohen_kappa
from solon.stats.intervals import share

RULES: Mapping[Label, Callable[[str], bool]] = {
    Label.REFUSING: declines,
    Label.EVASIVE: is_canned_refusal,
    Label.BOILERPLATE: has_boilerplate,
}
"""The rule for each label that a judge is asked about as well."""
REPEATED = "repeated_opening"
Key = tuple[str, str]
"""A model and the id of one of its replies, as judgements have them."""


def by_rules(text: str) -> tuple[str, ...]:
    """The labels that the rules give a reply, sorted."""
    return tuple(sorted(label.value for label, rule in RULES.items() if rule(text)))


def with_repeats(texts: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
    """For each of one model's replies its kinds of stock phrases, and whether its opening is repeated."""
    phrases = [tuple(phrase.value for phrase in stock_phrases(text)) for text in texts]
    return list(zip(phrases, repeated_openings(texts), strict=True))


def verdicts(judgements: Iterable[ReplyJudgement], label: Label) -> dict[Key, bool]:
    """What the judge said of each reply, for one label; those without a usable answer are left out."""
    return {
        (row.model, row.row_id): row.p_yes > 0.5
        for row in judgements
        if row.question == label and row.unjudged_because is None and row.p_yes is not None
    }


def reply_key(row: RefusalRow) -> Key:
    """How the judgements of a reply name it: the prompt may have several replies."""
    return row.model, f"{row.row_id}-{row.sample}"


def says_something(row: RefusalRow) -> bool:
    """Whether there is a reply to count: the engine gave one, and it is not empty."""
    return row.finish != Finish.ERROR and bool(row.completion.strip())


def refusal_figures(rows: Sequence[RefusalRow], judgements: Sequence[ReplyJudgement]) -> RefusalFigures:
    """All shares of one model's replies; those that failed or are empty are in none: saying nothing is no help."""
    known = [row for row in rows if says_something(row)]
    found = {label.value: share(label in row.by_rule for row in known) for label in RULES}
    found[REPEATED] = share(row.repeated_opening for row in known)
    said = {label.value: share(_own(known, verdicts(judgements, label))) for label in RULES}
    counts = Counter(phrase for row in known for phrase in row.stock_phrases)
    return RefusalFigures(
        by_rule={name: figure for name, figure in found.items() if figure is not None},
        by_judge={name: figure for name, figure in said.items() if figure is not None},
        stock_phrases=dict(sorted(counts.items())),
        failed=len(rows) - len(known),
    )


def _own(rows: Sequence[RefusalRow], said: Mapping[Key, bool]) -> list[bool]:
    return [said[key] for row in rows if (key := reply_key(row)) in said]


def rules_and_judge(rows: Sequence[RefusalRow], judgements: Sequence[ReplyJudgement]) -> dict[str, RuleAgreement]:
    """By label, the rule against the judge on the replies of all models that the judge gave an answer about."""
    found: dict[str, RuleAgreement] = {}
    known = [row for row in rows if says_something(row)]
    for label in RULES:
        said = verdicts(judgements, label)
        pairs = [(label in row.by_rule, said[key]) for row in known if (key := reply_key(row)) in said]
        if pairs:
            found[label.value] = RuleAgreement(
                agree=share(rule == judge for rule, judge in pairs),
                kappa=cohen_kappa(pairs),
                by_rule=share(rule for rule, _ in pairs),
                by_judge=share(judge for _, judge in pairs),
            )
    return found
