"""The rows of the reproduction's measurements: scored revisions, and a judge's answers to questions of known answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionScoreRow:
    """revision-scores: a reply to a red-team prompt (step 0) or its revision, scored and graded."""

    run: str
    step: int
    row_id: str
    score: float
    """Of the preference model of human harmlessness comparisons; higher is better."""
    harmful: bool
    """Whether the oracle says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAnswerRow:
    """judge-answers: what one judge says to one comparison, in one form."""

    judge: str
    form: str
    question: int
    kind: str
    better_is_a: bool
    p_a: float | None
    """The probability that reply A is better; None where the judge gave no usable answer. A preference model gives
    sigmoid(score of A - score of B)."""
    right: bool
