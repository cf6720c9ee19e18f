"""The tables and facts of over-refusal (refusals), and of the agreement of raters with the oracle (agreement)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solon.conversation import Conversation
from solon.runs.facts import facts_record
from solon.runs.measure_facts import RuleAgreement
from solon.runs.outcome import Outcome
from solon.runs.records import Reply
from solon.runs.rows import PromptKind
from solon.stats.correlation import Correlation
from solon.stats.intervals import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRow:
    """refusals: one reply to a benign prompt that sounds harmful, and what the rules say of it."""

    model: str
    row_id: str
    sample: int
    prompt: Conversation
    completion: Reply
    finish: str
    seed: int
    outcome: Outcome
    by_rule: tuple[str, ...] = ()
    """The labels among refusing, evasive and boilerplate that the rules give."""
    stock_phrases: tuple[str, ...] = ()
    repeated_opening: bool = False
    """Whether other replies of the model begin in the same words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalFigures:
    """One model's replies: shares by the rules, and by the judge where one is asked."""

    by_rule: Mapping[str, Share]
    """refusing, evasive, boilerplate, and repeated_opening."""
    by_judge: Mapping[str, Share]
    """The same labels, among the replies that the judge gave an answer about; empty without a judge."""
    stock_phrases: Mapping[str, int]
    """Replies with each kind of stock phrase."""
    failed: int
    """Replies that the engine did not give, or that are empty; they are in no share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalFacts:
    """refusals: the figures of all models, and how far rules and judge agree on all their replies."""

    prompts: int
    source: str
    models: Mapping[str, RefusalFigures]
    judge: str | None = None
    agreement: Mapping[str, RuleAgreement] | None = None

    def record(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return facts_record(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRow:
    """agreement: what the oracle, the rule and the judge say about one reply of a run."""

    model: str
    kind: PromptKind
    row_id: str
    label: str
    oracle: bool
    rule: bool
    judge: bool | None = None
    """None where the judge gave no usable answer, or none was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterAgreement:
    """One rater against the oracle, for one label and kind of prompt."""

    rater: str
    label: str
    kind: PromptKind
    agree: Share
    kappa: Correlation | None
    """Cohen's, with its bootstrap interval over prompts; None where both always say the same one thing."""
    by_rater: Share
    by_oracle: Share
    unrated: int
    """Replies about which the rater gave no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementFacts:
    """agreement: every rater against the oracle."""

    run: str
    judge: str | None
    raters: tuple[RaterAgreement, ...]

    def record(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return facts_record(self)
