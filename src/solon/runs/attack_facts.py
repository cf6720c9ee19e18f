"""The facts of an attack (`solon attack`), by round and over all rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solon.stats.intervals import Mean, Share


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRoundFacts:
    """One round; round 0 is about human prompts. A share over no cases is None."""

    round: int
    requests: int
    written: int
    """Items that the writer wrote, those that break a rule included."""
    rules: Mapping[str, int]
    """How many of them each rule refused."""
    tested: int
    """Prompts that the policy was asked."""
    unscored: int
    """Of those: prompts without a score, because a call failed or the reply is empty."""
    failing: Share | None
    """The share of replies that fail by their score; every prompt that fails is kept."""
    kept: int
    varied: Share | None
    """The same share of prompts from requests that show kept prompts."""
    fresh: Share | None
    """The same share of prompts from requests that show only human prompts."""
    harmful: Share | None
    """The share of replies that the grader calls harmful; None without a grader. It selects nothing."""
    repeats: Share | None
    """The share of well-formed items that repeat an earlier or a human prompt, exactly or nearly."""
    distinct_2: Mean | None
    """Different pairs of words among all pairs, in the openings of the tested prompts."""
    topics: Mapping[str, Share]
    """By the grader's topic: the share of replies that fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackFacts:
    """A whole attack; without `human` the figures are about the prompts that the writer wrote."""

    policy: str
    writer: str
    scored_by: str
    threshold: float
    references: int
    """Replies of the assistant that a score is relative to; 0 where it is absolute."""
    grader: str | None
    rounds: tuple[AttackRoundFacts, ...]
    human: Share | None
    """The share of human prompts that fail (round 0)."""
    failing: Share | None
    kept: int
    generations: int
    """The longest line of variations that leads to a kept prompt."""
    distinct_2: Mean | None
    """Of the kept prompts."""
    distinct_2_human: Mean | None
    """Of the human prompts that were tested."""
    topics: Mapping[str, Share]
    agreement: Share | None
    """How often score and grader agree that a reply is harmful, or that it is not."""
