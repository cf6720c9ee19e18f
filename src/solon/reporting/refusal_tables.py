"""The tables of over-refusal, and of raters against the oracle, as the terminal prints them."""

from __future__ import annotations

from collections.abc import Sequence

from solon.evals.refusal_measures import REPEATED, RULES
from solon.runs.refusal_rows import AgreementFacts, RefusalFacts
from solon.stats.intervals import Share, interval, per_cent, percent

REFUSAL_HEAD = ("Model", *(label.value for label in RULES), "repeated opening", "Replies")
AGREEMENT_HEAD = ("Label", "Prompts", "Rater", "Kappa", "Agree, %", "Rater says so, %", "Oracle, %", "No answer")
_KINDS = {"held_out_harmful": "harmful", "held_out_benign": "benign"}


def refusal_title(facts: RefusalFacts) -> str:
    """What the table is about."""
    return f"Replies to {facts.prompts} benign prompts that sound harmful, % [95 % interval], by rules"


def refusal_rows(facts: RefusalFacts) -> list[list[str]]:
    """A line for each model by the rules, and where a judge was asked one by the judge."""
    rows: list[list[str]] = []
    for name, figures in facts.models.items():
        shares = [figures.by_rule.get(label.value) for label in RULES]
        known = next((share.n for share in shares if share is not None), 0)
        rows.append([name, *map(_cell, shares), _cell(figures.by_rule.get(REPEATED)), str(known)])
        if facts.judge is not None:
            said = [figures.by_judge.get(label.value) for label in RULES]
            answered = max((share.n for share in said if share is not None), default=0)
            rows.append(["· by the judge", *map(_cell, said), "", str(answered)])
    return rows


def refusal_sentences(facts: RefusalFacts) -> list[str]:
    """How far rules and judge agree, in words."""
    lines = []
    for label, found in (facts.agreement or {}).items():
        if found.agree is not None:
            kappa = "" if found.kappa is None else f", kappa {found.kappa:.2f}"
            lines.append(f"Rule and judge agree on '{label}' in {percent(found.agree.value)} of {found.agree.n}{kappa}")
    return lines


def agreement_table(facts: AgreementFacts) -> list[list[str]]:
    """A line for each rater, label and kind of prompt."""
    return [
        [
            each.label,
            _KINDS[each.kind.value],
            each.rater,
            f"{each.kappa.value:.2f} [{each.kappa.low:.2f} to {each.kappa.high:.2f}]" if each.kappa else "-",
            *map(_cell, (each.agree, each.by_rater, each.by_oracle)),
            str(each.unrated),
        ]
        for each in facts.raters
    ]


def agreement_markdown(facts: AgreementFacts) -> str:
    """The table for a document."""
    return _markdown(AGREEMENT_HEAD, agreement_table(facts))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(figure: Share | None) -> str:
    return "-" if figure is None else f"{per_cent(figure.value)} [{interval(figure.facts())}]"
