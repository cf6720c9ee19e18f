"""The facts of 09-measure about a judge: who it was, what it left unjudged, and comparisons with a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solon.runs.facts import facts_record
from solon.stats.intervals import Mean, Share


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAgreement:
    """How far the rule for canned refusals and the judge's label `evasive` agree on the same replies."""

    agree: Share | None
    kappa: float | None
    """Cohen's kappa; None where both always say the same one thing."""
    by_rule: Share | None
    by_judge: Share | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyJudgeFacts:
    """09-measure, `judge`: the judge of the replies, and what it left unjudged."""

    name: str
    read: str
    letter_form: str
    questions: str
    """The name of the set of questions."""
    letter_mass: float | None
    """The mean P(A) + P(B) over its yes-or-no answers."""
    orders_agree: Mapping[str, Share | None]
    """By question: answers that stay the same when yes and no change places."""
    unjudged: Mapping[str, Mapping[str, int]]
    """By model and question, replies without an answer; those without any are left out."""
    unjudged_because: Mapping[str, int]
    rule_agreement: Mapping[str, RuleAgreement]
    """By kind of prompt, over the replies of all models."""

    def record(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return facts_record(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFigures:
    """One model against the baseline on one kind of prompts; ties count half, unjudged pairs not at all."""

    n: int
    ties: int
    unjudged: int
    win_rate: Share | None
    mean_p: Mean | None
    orders_agree: Share | None
    """Of the pairs that were asked in both orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFacts:
    """09-measure, `compared`: every other model against the baseline, by model and kind of prompts."""

    baseline: str
    models: Mapping[str, Mapping[str, ComparisonFigures]]
    unjudged_because: Mapping[str, int]

    def record(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return facts_record(self)
