"""Constitutions: the principles, the worked examples, and the draw of a principle for a row.

A constitution is a YAML file and the only supervision of harmlessness: revision principles (a critique request with a
revision request), preference principles (one instruction), and worked examples for each kind of question to a
model. A draw is weighted rendezvous hashing over (run seed, row, step, principle id): each principle scores
`-weight / log(u)` with u in (0, 1) from a digest, and the highest wins. Editing a principle's text therefore moves no
draw, and adding the n-th principle moves 1/n of them (docs/concepts.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from solon.config.located_yaml import suggestion
from solon.conversation import Conversation
from solon.digest import digest, uniform_for
from solon.errors import RecipeError

if TYPE_CHECKING:
    from solon.config.recipe import FeedbackSettings, RevisionSettings


class Principle(Protocol):
    """A principle as a draw sees it."""

    @property
    def id(self) -> str:
        """Its name in rows."""
        ...

    @property
    def weight(self) -> float:
        """How often it is drawn, relative to others."""
        ...


@dataclass(frozen=True, slots=True)
class RevisionPrinciple:
    """A critique request with its revision request (paper, section 3.1)."""

    id: str
    critique_request: str
    revision_request: str
    axis: str = "harmlessness"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PreferencePrinciple:
    """An instruction by which two replies are compared (paper, section 4.1)."""

    id: str
    instruction: str
    axis: str = "harmlessness"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class CritiqueExample:
    """A worked critique and revision of the conversation's last assistant turn."""

    conversation: Conversation
    critique_request: str
    critique: str
    revision_request: str
    revision: str


@dataclass(frozen=True, slots=True)
class ComparisonExample:
    """Two replies to a conversation, with the better one named; its principle is drawn for each prompt."""

    conversation: Conversation
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class ReasonedExample:
    """A comparison with the reasoning that leads to its letter (chain of thought, paper section 4.1)."""

    conversation: Conversation
    option_a: str
    option_b: str
    reasoning: str
    answer: str


@dataclass(frozen=True, slots=True)
class Constitution:
    """Everything that supervises harmlessness in a run."""

    name: str
    description: str
    revision: tuple[RevisionPrinciple, ...]
    preference: tuple[PreferencePrinciple, ...]
    critique_examples: tuple[CritiqueExample, ...] = ()
    comparison_examples: tuple[ComparisonExample, ...] = ()
    reasoned_examples: tuple[ReasonedExample, ...] = ()

    @property
    def hash(self) -> str:
        """A digest of the whole content."""
        return digest(repr(self))


P = TypeVar("P", bound=Principle)


def draw(principles: Sequence[P], *key: object) -> P:
    """The principle that rendezvous hashing gives for `key` (run seed, row id, step ...); a weight of 0 never wins.

    The chance of a principle is its weight over the sum of weights. Raises ValueError when no weight is positive.
    """
    candidates = [principle for principle in principles if principle.weight > 0]
    if not candidates:
        raise ValueError("no principle with a positive weight to draw from")
    return max(candidates, key=lambda p: (-p.weight / math.log(uniform_for(*key, p.id)), p.id))


def preference_principles(settings: FeedbackSettings, constitution: Constitution) -> tuple[PreferencePrinciple, ...]:
    """The principles to draw from for labels: the first `number_of_principles`, or all.

    Raises RecipeError when there are too few, or when none of them can be drawn.
    """
    known = constitution.preference
    number = settings.number_of_principles or len(known)
    if number > len(known):
        raise RecipeError(
            f"{number} preference principles are asked for, but there are {len(known)}",
            place="feedback.number_of_principles",
            remedy=f"Use --set feedback.number_of_principles={len(known)} or less",
        )
    chosen = known[:number]
    if not any(principle.weight > 0 for principle in chosen):
        raise RecipeError(
            "every preference principle to draw from has weight 0",
            place="feedback.number_of_principles",
            remedy="Use more principles, or give one of these a weight in the constitution",
        )
    return chosen


def revision_principles(settings: RevisionSettings, constitution: Constitution) -> tuple[RevisionPrinciple, ...]:
    """The principles to draw from for revisions: the first `number_of_principles` of those in `principles`.

    Raises RecipeError for an unknown principle, with the nearest id, and when there are too few.
    """
    known = {principle.id: principle for principle in constitution.revision}
    named = settings.principles or tuple(known)
    for position, name in enumerate(named):
        if name not in known:
            raise RecipeError(
                f"constitution '{constitution.name}' has no revision principle '{name}'",
                place="revision.principles",
                remedy=suggestion(name, known),
            )
        if name in named[:position]:
            raise RecipeError(
                f"principle '{name}' is named twice",
                place="revision.principles",
                remedy="To draw one more often, give it a greater weight in the constitution",
            )
    number = settings.number_of_principles or len(named)
    if number > len(named):
        raise RecipeError(
            f"{number} revision principles are asked for, but there are {len(named)}",
            place="revision.number_of_principles",
            remedy=f"Use --set revision.number_of_principles={len(named)} or less",
        )
    chosen = tuple(known[name] for name in named[:number])
    if not any(principle.weight > 0 for principle in chosen):
        raise RecipeError(
            "none of the chosen principles has a weight above 0", place="revision.principles", remedy="Name others"
        )
    return chosen


def worked_critiques(settings: RevisionSettings, constitution: Constitution) -> tuple[CritiqueExample, ...]:
    """The constitution's first `few_shot` worked critiques, the same for every question.

    Raises RecipeError when there are fewer.
    """
    examples = constitution.critique_examples
    if settings.few_shot > len(examples):
        raise RecipeError(
            f"{settings.few_shot} worked critiques are asked for, but the constitution has {len(examples)}",
            place="revision.few_shot",
            remedy=f"Write more under 'examples: critique:', or --set revision.few_shot={len(examples)}",
        )
    return examples[: settings.few_shot]
