"""Pretraining documents: conversations, critiques with revisions, comparisons (also reasoned), questions.

A document is a list of pieces of text, each with the weight of its tokens in the loss. `solon.prompts` writes the
texts, as it does for the stages, so that the bundled models learn the prompts that they are asked. A letter of a
comparison has a soft target. The target at the end of every model turn is the end token, although the document
continues, so that a turn ends there whatever follows.

Kinds of replies and classes of principles are about as frequent as the testbed's draws make them, so that what a model
takes for probable is so in use. Most replies that are criticised and compared comply or object, and a good third of the
principles name another harm than the request's: there the judge learns to be even and the critic to find nothing. Two
classes are more frequent than in use: pairs of unequal kinds, since nothing else teaches an order, and principles on a
quality where the quality shows.

Earlier documents showed one garbled reply for two objections, and some garbled replies differ from a good objection
only in whose consequence they name. The models did not tell the two apart: they called 23 % of good objections
nonsense, and 17 % of the garbled replies. Now there is one garbled reply for nine objections.

A letter at once is the hardest to learn: it has one token of loss in a hundred, and no step of the way is written down.
So one document in five is a comparison, each with two to six further letters on the same pair, and its first letter,
the only one that stands as it is asked in use, has the greatest weight.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TypeVar

from solon import prompts
from solon.constitution.constitution import PreferencePrinciple, RevisionPrinciple
from solon.conversation import LABELS, Conversation, Prompt, Role, TranscriptRendering
from solon.digest import uniform_for
from solon.testbed import principle_language, truth
from solon.testbed.principle_language import PrincipleText
from solon.testbed.world import HARM_KINDS, TEMPLATES, ReplyKind, Topic, World, ask, write_reply

T = TypeVar("T")


class DocumentPart(StrEnum):
    """Which of the two bundled models a document is for; they differ in their replies to requests."""

    PRETRAINED = "pretrained"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class DocumentPiece:
    """Text with the weight of its tokens; `p_a` is a letter's soft target, `ends` teaches the end token after it."""

    text: str
    weight: float = 0.0
    p_a: float | None = None
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One training text."""

    kind: str
    pieces: tuple[DocumentPiece, ...] = field(default=())

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece.text for piece in self.pieces)


HUMAN_WEIGHT = 0.15
NAMES_WEIGHT = 2.0
"""For what a principle names: judges dropped one of three names in every second reasoning when this was 1."""
VERDICT_WEIGHT = 4.0
LETTER_WEIGHT = 5.0
LETTER_AT_ONCE_WEIGHT = 10.0
"""For the first letter of a comparison without reasoning."""

_REPLIES: Mapping[DocumentPart, Mapping[ReplyKind, float]] = {
    DocumentPart.PRETRAINED: {
        ReplyKind.COMPLY: 52,
        ReplyKind.PARTIAL: 4,
        ReplyKind.OBJECT: 30,
        ReplyKind.PREACHY: 7,
        ReplyKind.EVASIVE: 7,
    },
    DocumentPart.ASSISTANT: {
        ReplyKind.COMPLY: 965,
        ReplyKind.PARTIAL: 5,
        ReplyKind.OBJECT: 15,
        ReplyKind.PREACHY: 5,
        ReplyKind.EVASIVE: 10,
    },
}
_SHOWN: Mapping[ReplyKind, float] = {
    ReplyKind.COMPLY: 36,
    ReplyKind.PARTIAL: 8,
    ReplyKind.OBJECT: 36,
    ReplyKind.PREACHY: 8,
    ReplyKind.EVASIVE: 8,
    ReplyKind.GARBLED: 4,
}
_SHOWN_BENIGN: Mapping[ReplyKind, float] = {ReplyKind.COMPLY: 75, ReplyKind.EVASIVE: 15, ReplyKind.GARBLED: 10}
_USUAL_PAIRS: Mapping[tuple[ReplyKind, ReplyKind], float] = {
    (ReplyKind.OBJECT, ReplyKind.COMPLY): 70,
    (ReplyKind.OBJECT, ReplyKind.OBJECT): 24,
    (ReplyKind.COMPLY, ReplyKind.COMPLY): 6,
}
"""The pairs that SL-CAI writes in nine cases of ten (1,805 of 1,959 over five seeds): 49, 43 and 8 % of them."""
_USUAL_SHARE = 0.5
"""The share of pairs that are usual ones; the others are two draws from `_SHOWN`, so that all kinds meet."""
_QUALITIES: Mapping[str, ReplyKind] = {
    principle_language.EVASIVENESS: ReplyKind.EVASIVE,
    principle_language.PREACHINESS: ReplyKind.PREACHY,
}
_NAMED_SHARE = 0.42
"""Of principles on categories, the share that names the topic's own; it is 37 % with the testbed's constitution."""
_MORE_LETTERS = (2, 4, 6)
_MIXTURES: Mapping[DocumentPart, Mapping[str, float]] = {
    DocumentPart.PRETRAINED: {"chat": 20, "critique": 36, "comparison": 19, "reasoned": 22, "questions": 3},
    DocumentPart.ASSISTANT: {"chat": 22, "critique": 35, "comparison": 19, "reasoned": 22, "questions": 2},
}


class Writer:
    """Writes documents about a world; all randomness comes from the generator that is passed in."""

    def __init__(self, world: World, part: DocumentPart) -> None:
        self.world = world
        self.part = part
        self._rendering = TranscriptRendering()

    def write(self, rng: random.Random) -> Document:
        """A document of a random kind."""
        kind = _pick(_MIXTURES[self.part], rng)
        match kind:
            case "chat":
                pieces = self._chat(rng)
            case "critique":
                pieces = self._critique(rng)
            case "comparison":
                pieces = self._comparison(rng)
            case "reasoned":
                pieces = self._reasoned(rng)
            case _:
                pieces = self._questions(rng)
        return Document(kind, tuple(pieces))

    def _chat(self, rng: random.Random) -> list[DocumentPiece]:
        topic = self._topic(rng, benign=0.4)
        kinds = _REPLIES[self.part] if topic.harmful else {ReplyKind.COMPLY: 98, ReplyKind.EVASIVE: 2}
        conversation = _ask(topic, rng)
        answer = write_reply(topic, _pick(kinds, rng), rng)
        pieces = []
        for turn in conversation.turns:
            pieces.append(DocumentPiece(f"\n\n{LABELS[turn.role]}:"))
            spoken = turn.role is Role.ASSISTANT
            pieces.append(DocumentPiece(f" {turn.content}", 1.0 if spoken else HUMAN_WEIGHT, ends=spoken))
        return [*pieces, DocumentPiece("\n\nAssistant:"), DocumentPiece(f" {answer}", 1.0, ends=True)]

    def _critique(self, rng: random.Random) -> list[DocumentPiece]:
        """A reply, a critique of it by a principle, and its revision.

        Only one critique: the reply's category then occurs once for the reply and once more if it is named.
        """
        topic = self._topic(rng, benign=0.12)
        principle = self._principle_about(topic, rng)
        kind = self._shown_kind(topic, principle, rng)
        conversation, answer = _ask(topic, rng), self._reply(topic, kind, rng)
        if rng.random() < 0.1:  # revise at once, without a critique
            prompt = prompts.revision(conversation, answer, _requests(principle), None)
            return [self._cue(prompt), self._revised(topic, kind, principle, answer, rng)]
        return [
            self._cue(prompts.critique(conversation, answer, _requests(principle))),
            *_criticise(topic, kind, principle),
            _turn(Role.REVISION_REQUEST, principle.revision_request, Role.REVISION),
            self._revised(topic, kind, principle, answer, rng),
        ]

    def _revised(
        self, topic: Topic, kind: ReplyKind, principle: PrincipleText, answer: str, rng: random.Random
    ) -> DocumentPiece:
        if truth.violates(principle.targets, topic, kind):
            good = ReplyKind.OBJECT if topic.harmful else ReplyKind.COMPLY
            spoiled = ReplyKind.PARTIAL if kind in HARM_KINDS and rng.random() < 0.06 else good
            answer = write_reply(topic, spoiled, rng)
        return DocumentPiece(f" {answer}", 1.0, ends=True)

    def _comparison(self, rng: random.Random) -> list[DocumentPiece]:
        topic, kinds, options = self._pair(rng)
        principle = self._principle_about(topic, rng, kinds)
        conversation = _ask(topic, rng)
        pieces = [self._cue(_compare(conversation, principle, options))]
        pieces += _letter(principle, topic, kinds, LETTER_AT_ONCE_WEIGHT)
        # More principles on the same pair: a letter is one token in a hundred, which is too little signal.
        for _ in range(rng.choice(_MORE_LETTERS)):
            principle = self._principle_about(topic, rng, kinds)
            pieces.append(DocumentPiece(f"\n\n{principle.instruction}\n\n{LABELS[Role.ANSWER]}: ("))
            pieces += _letter(principle, topic, kinds)
        return pieces

    def _reasoned(self, rng: random.Random) -> list[DocumentPiece]:
        topic, kinds, options = self._pair(rng)
        principle = self._principle_about(topic, rng, kinds)
        thought = truth.write_reasoning(principle.targets, topic, kinds)
        question = _compare(_ask(topic, rng), principle, options)
        return [
            self._cue(Prompt(question.turns, Role.REASONING)),
            DocumentPiece(f" {thought.named}", NAMES_WEIGHT),
            DocumentPiece(f" {thought.replies}", 1.0),
            DocumentPiece(f" {thought.counts}", VERDICT_WEIGHT),
            DocumentPiece(thought.end, 1.0, ends=True),
            DocumentPiece(f"\n\n{LABELS[Role.ANSWER]}: ("),
            *_letter(principle, topic, kinds),
        ]

    def _questions(self, rng: random.Random) -> list[DocumentPiece]:
        lines = [_ask(self._topic(rng, benign=0.4), rng, turns=1).turns[-1].content for _ in range(rng.randint(3, 6))]
        text = "".join(f"\n{number}. {line}" for number, line in enumerate(lines, start=1))
        return [DocumentPiece("\n\nQuestions that people ask:"), DocumentPiece(text, 0.5, ends=True)]

    def _pair(self, rng: random.Random) -> tuple[Topic, Sequence[ReplyKind], tuple[str, str]]:
        topic = self._topic(rng, benign=0.06)
        shown = _SHOWN if topic.harmful else _SHOWN_BENIGN
        kinds = [_pick(shown, rng), _pick(shown, rng)]
        if kinds[0] is kinds[1] and rng.random() < 0.6:
            kinds[1] = _pick(shown, rng)
        if topic.harmful and rng.random() < _USUAL_SHARE:
            usual = _pick(_USUAL_PAIRS, rng)
            kinds = list(usual)
            rng.shuffle(kinds)
        return topic, kinds, (self._reply(topic, kinds[0], rng), self._reply(topic, kinds[1], rng))

    def _topic(self, rng: random.Random, *, benign: float) -> Topic:
        return rng.choice(self.world.benign if rng.random() < benign else self.world.harmful)

    def _principle_about(self, topic: Topic, rng: random.Random, kinds: Sequence[ReplyKind] = ()) -> PrincipleText:
        """A principle; of those that name categories, some name the topic's own.

        Where a quality distinguishes `kinds`, principles about it are more frequent.
        """
        for quality, kind in _QUALITIES.items():
            if kind in kinds and rng.random() < 0.25:
                return principle_language.write_principle([quality], rng)
        targets = principle_language.draw_targets(self.world.categories, rng)
        if topic.category and set(targets) <= set(self.world.categories):
            others = [category for category in self.world.categories if category != topic.category]
            include = topic.category if rng.random() < _NAMED_SHARE else None
            targets = principle_language.draw_targets(others, rng, include=include or rng.choice(others))
        return principle_language.write_principle(targets, rng)

    def _shown_kind(self, topic: Topic, principle: PrincipleText, rng: random.Random) -> ReplyKind:
        """A kind of reply, more often one that the principle is about."""
        targets = set(principle.targets)
        for target, kind in _QUALITIES.items():
            if target in targets and rng.random() < 0.4 and (topic.harmful or kind is ReplyKind.EVASIVE):
                return kind
        if targets <= set(self.world.categories) and topic.harmful and rng.random() < 0.4:
            return rng.choice((ReplyKind.COMPLY, ReplyKind.COMPLY, ReplyKind.PARTIAL))
        return _pick(_SHOWN if topic.harmful else _SHOWN_BENIGN, rng)

    def _reply(self, topic: Topic, kind: ReplyKind, rng: random.Random) -> str:
        return write_reply(topic, kind, rng, self.world.topics)

    def _cue(self, prompt: Prompt) -> DocumentPiece:
        return DocumentPiece("".join(self._rendering.render(prompt)))


def _requests(principle: PrincipleText) -> RevisionPrinciple:
    return RevisionPrinciple("", principle.critique_request, principle.revision_request)


def _turn(role: Role, content: str, reply_as: Role) -> DocumentPiece:
    return DocumentPiece(f"\n\n{LABELS[role]}: {content}\n\n{LABELS[reply_as]}:")


def _criticise(topic: Topic, kind: ReplyKind, principle: PrincipleText) -> list[DocumentPiece]:
    seen, found, reason = truth.write_critique(principle.targets, topic, kind)
    return [
        DocumentPiece(f" {seen}", NAMES_WEIGHT),
        DocumentPiece(f" {found}", VERDICT_WEIGHT),
        DocumentPiece(reason, 1.0, ends=True),
    ]


def _compare(conversation: Conversation, principle: PrincipleText, options: tuple[str, str]) -> Prompt:
    return prompts.comparison(conversation, PreferencePrinciple("", principle.instruction), *options)


def _letter(
    principle: PrincipleText, topic: Topic, kinds: Sequence[ReplyKind], weight: float = LETTER_WEIGHT
) -> list[DocumentPiece]:
    """The letter of the better reply with its soft target; at exactly one half neither letter is taught more."""
    p_a = truth.preference(principle.targets, topic, kinds)
    return [DocumentPiece("A" if p_a >= 0.5 else "B", weight, p_a=p_a), DocumentPiece(")", 0.2, ends=True)]


def _ask(topic: Topic, rng: random.Random, turns: int | None = None) -> Conversation:
    """A request in a template that is not held out for this topic (one in eight is)."""
    while True:
        template = rng.randrange(len(TEMPLATES))
        if turns is not None and len(TEMPLATES[template]) != turns:
            continue
        if not request_held_out(topic, template):
            return ask(topic, template)


@cache
def request_held_out(topic: Topic, template: int) -> bool:
    """Whether this topic in this template is kept from pretraining."""
    return uniform_for("testbed-request", topic.request, template) < 1 / 8


def _pick(weights: Mapping[T, float], rng: random.Random) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]
