"""The questions with known answers that critic and judge are measured on, and the built-in sets of them.

The built-in questions are mild, were written for this project and are in `data/judge_check`. A comparison has the
instruction by which its better reply is better. The comparisons of harm are asked once more by the principles of the
run's constitution, because a constitution for harmlessness prefers the harmless reply. An injection is a text around
the worse reply of a comparison. The text determines which comparison that is, so that the corpus is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import yaml

from solon.config.builtin import DATA
from solon.constitution.constitution import Constitution, PreferencePrinciple, RevisionPrinciple
from solon.conversation import Conversation, Role, Turn
from solon.digest import uniform_for

FOLDER = DATA / "judge_check"
HARM = "harm"
"""The kind of comparison in which one reply is harmful and the other is not."""
PER_PRINCIPLE = 6
"""Built-in comparisons that each principle of a constitution is asked about."""
CONTENT_FREE = ("N/A", "...", "[no reply]")
"""Replies that say nothing, after Zhao et al. 2021 (contextual calibration): both options are the same one."""
BLANKS = 24
"""Pairs of such replies at most."""
REPLY = "{reply}"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to be compared by a principle."""

    conversation: Conversation
    principle: PreferencePrinciple
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class PlainComparison:
    """Two replies of which the first is better by the principle, and what the difference is about."""

    conversation: Conversation
    better: str
    worse: str
    principle: PreferencePrinciple
    kind: str

    def pair(self, *, better_is_a: bool, worse: str | None = None) -> Pair:
        """The two replies in the order in which they are to stand, the worse one in other words when they are given."""
        other = self.worse if worse is None else worse
        replies = (self.better, other) if better_is_a else (other, self.better)
        return Pair(self.conversation, self.principle, *replies)


@dataclass(frozen=True, slots=True)
class Injection:
    """Words that are to talk a judge into preferring the reply that holds them; `{reply}` stands for that reply."""

    kind: str
    text: str

    def around(self, reply: str) -> str:
        """The reply with the words put in."""
        return self.text.replace(REPLY, reply)

    def into(self, comparisons: Sequence[T]) -> T:
        """The comparison that gets it, around its worse reply; always the same of the same comparisons."""
        return comparisons[int(uniform_for("injection", self.text) * len(comparisons))]


@dataclass(frozen=True, slots=True)
class Fault:
    """A reply with one plain fault, and the beginnings of words that name it.

    `principle` is the one by which it is criticised, where only that principle makes it a fault; else one is drawn.
    """

    conversation: Conversation
    reply: str
    names: tuple[str, ...]
    kind: str
    principle: RevisionPrinciple | None = None

    def named_by(self, critique: str) -> bool:
        """Whether the critique holds one of the names, at the beginning of a word."""
        return re.search(rf"\b(?:{'|'.join(map(re.escape, self.names))})", critique, re.I) is not None


@dataclass(frozen=True, slots=True)
class JudgeQuestions:
    """All that a judge is asked when it is measured."""

    comparisons: tuple[PlainComparison, ...]
    """What accuracy is taken over."""
    by_principle: tuple[PlainComparison, ...]
    """Comparisons by the principles of the constitution; those above count by principle as well when they are such."""
    blanks: tuple[Pair, ...]
    """Pairs of equal replies that say nothing."""
    injections: tuple[Injection, ...]
    what: str
    """What the comparisons are, in words: `plain comparisons`."""

    @property
    def truths(self) -> tuple[PlainComparison, ...]:
        """Every comparison, each once."""
        return tuple(dict.fromkeys((*self.comparisons, *self.by_principle)))

    def better_is_a(self) -> dict[PlainComparison, bool]:
        """Whether the better reply stands as A: in every second comparison."""
        return {one: number % 2 == 0 for number, one in enumerate(self.truths)}

    def injected(self) -> list[tuple[Injection, PlainComparison]]:
        """Each injection with its comparison; none without comparisons."""
        return [(each, each.into(self.comparisons)) for each in self.injections] if self.comparisons else []

    @property
    def pairs(self) -> list[Pair]:
        """Every pair that is shown in both orders: the comparisons, and those with injected words."""
        better_is_a = self.better_is_a()
        spoilt = [one.pair(better_is_a=better_is_a[one], worse=i.around(one.worse)) for i, one in self.injected()]
        return [*(one.pair(better_is_a=is_a) for one, is_a in better_is_a.items()), *spoilt]

    def limited(self, limit: int | None) -> JudgeQuestions:
        """At most `limit` of each sort, evenly spread; all when None."""
        return replace(
            self,
            comparisons=evenly(self.comparisons, limit),
            by_principle=evenly(self.by_principle, limit),
            blanks=evenly(self.blanks, limit),
            injections=evenly(self.injections, limit),
        )

    def count(self, orders: int) -> int:
        """How many questions are asked when every comparison is shown in so many orders; blanks have but one."""
        return orders * len(self.pairs) + len(self.blanks)


def plain_questions(constitution: Constitution) -> JudgeQuestions:
    """The built-in questions, for a judge that works by `constitution`."""
    comparisons = plain_comparisons()
    harm = [one for one in comparisons if one.kind == HARM]
    by_principle = tuple(
        replace(harm[(rank * PER_PRINCIPLE + place) % len(harm)], principle=principle)
        for rank, principle in enumerate(constitution.preference)
        for place in range(PER_PRINCIPLE)
    )
    blanks = content_free_pairs(constitution, [one.conversation for one in comparisons])
    return JudgeQuestions(comparisons, by_principle, blanks, injections(), "plain comparisons")


def plain_comparisons() -> tuple[PlainComparison, ...]:
    """The built-in comparisons; their instructions are no principles of any constitution, and have ids of their own."""
    file = _read("comparisons")
    principles = {kind: PreferencePrinciple(f"plain:{kind}", text) for kind, text in file["instructions"].items()}
    return tuple(
        PlainComparison(_asks(each["human"]), each["better"], each["worse"], principles[each["about"]], each["about"])
        for each in file["comparisons"]
    )


def plain_faults() -> tuple[Fault, ...]:
    """The built-in faulty replies."""
    return tuple(
        Fault(_asks(each["human"]), each["reply"], tuple(each["names"]), each["kind"])
        for each in _read("faults")["faults"]
    )


def injections() -> tuple[Injection, ...]:
    """The built-in texts that talk to a judge."""
    return tuple(Injection(each["kind"], each["text"]) for each in _read("injections")["injections"])


def content_free_pairs(constitution: Constitution, conversations: Sequence[Conversation]) -> tuple[Pair, ...]:
    """Principles with replies that say nothing, each to another of some conversations."""
    blanks = evenly([(principle, text) for principle in constitution.preference for text in CONTENT_FREE], BLANKS)
    return tuple(
        Pair(conversation, principle, text, text)
        for (principle, text), conversation in zip(blanks, _round(conversations, len(blanks)), strict=True)
    )


def evenly(items: Sequence[T], limit: int | None) -> tuple[T, ...]:
    """At most `limit` items, spread over all of them; a limit of None keeps all."""
    if limit is None or limit >= len(items):
        return tuple(items)
    return tuple(items[place * len(items) // limit] for place in range(limit))


def _round(items: Sequence[T], count: int) -> list[T]:
    """`count` items, from the start again when they end, far apart so that neighbours differ."""
    return [items[place * 7 % len(items)] for place in range(count)]


def _asks(text: str) -> Conversation:
    return Conversation((Turn(Role.HUMAN, text),))


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
