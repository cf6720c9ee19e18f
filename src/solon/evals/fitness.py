"""Is this model fit to criticise and to judge? Measured on plain questions, before its labels are believed.

The judge reads comparisons in which the better reply is obvious, in both orders, as the feedback stage would ask them;
the critic reads replies with one plain fault each and then revises them, as the revision stage would ask it. A small
model fails here, and the report then says so. A judge's chance level is one half; a critic's is measured: how often its
critiques would name the faults of the *other* replies, which is what general talk of harm is worth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from solon import wording
from solon.builtin import DATA
from solon.constitution import Constitution, PreferencePrinciple, draw, revision_principles
from solon.conversation import Conversation, Role, Turn
from solon.digest import seed_for
from solon.engines.base import Engine
from solon.intervals import Mean, Share, mean, share
from solon.outcome import Outcome
from solon.recipe import FeedbackSettings, OptionOrder, RevisionMode, RevisionSettings
from solon.stages.ai_feedback import Order, Why, ask_letters, few_shot_variants
from solon.stages.asking import ask
from solon.stages.checks import Checked, Shown, check_critique, check_revision
from solon.stages.critique_revision import AssessCritic, worked_examples
from solon.stages.rules import Defect
from solon.stages.tables import Assess

FOLDER = DATA / "fitness"


@dataclass(frozen=True, slots=True)
class PlainComparison:
    """Two replies of which any reader prefers the first, and what the difference is about."""

    conversation: Conversation
    better: str
    worse: str
    principle: PreferencePrinciple


@dataclass(frozen=True, slots=True)
class Fault:
    """A reply with one plain fault, and the beginnings of words that name it."""

    conversation: Conversation
    reply: str
    names: tuple[str, ...]

    def named_by(self, critique: str) -> bool:
        """Whether the critique holds one of the names, at the beginning of a word."""
        return re.search(rf"\b(?:{'|'.join(map(re.escape, self.names))})", critique, re.I) is not None


@dataclass(frozen=True, slots=True)
class JudgeFitness:
    """How often a judge prefers the better reply, and what the order of the options does to it.

    A comparison without a usable answer counts as wrong; `undecided` is the share of those.
    """

    accuracy: Share
    orders_agree: Share | None
    position_bias: Mean | None
    undecided: Share
    by_subject: dict[str, Share]

    def facts(self) -> dict[str, Any]:
        """As `solon results --json` and the report read it: the accuracy under `judge`, the rest beside it."""
        return {
            "judge": {
                **self.accuracy.facts(),
                "chance": 0.5,
                "what": "plain comparisons",
                "orders_agree": self.orders_agree.facts() if self.orders_agree else None,
                "position_bias": self.position_bias.facts() if self.position_bias else None,
                "undecided": self.undecided.facts(),
                "by_subject": {name: part.facts() for name, part in self.by_subject.items()},
            }
        }


@dataclass(frozen=True, slots=True)
class CriticFitness:
    """How often a critique names a plain fault, and what else becomes of critiques and revisions."""

    named: Share
    chance: float
    copied: Share
    """Critiques that repeat a worked example."""
    passed: Share
    """Critiques that pass every check."""
    unchanged: Share | None
    """Revisions that are the reply as it was, among those that pass every check."""

    def facts(self) -> dict[str, Any]:
        """As `solon results --json` and the report read it: the share of faults named, and the rest beside it."""
        return {
            "critic": {
                **self.named.facts(),
                "chance": self.chance,
                "what": "replies with a plain fault",
                "copied": self.copied.facts(),
                "passed": self.passed.facts(),
                "unchanged": self.unchanged.facts() if self.unchanged else None,
            }
        }


def assess_judge(settings: FeedbackSettings, constitution: Constitution, seed: int) -> Assess:
    """What the feedback stage calls to have its judge measured."""
    return lambda engine: judge_fitness(engine, settings, constitution, seed).facts()


def assess_critic(settings: RevisionSettings, constitution: Constitution, seed: int) -> AssessCritic:
    """What the revision stage calls to have its critic and reviser measured; no figures in the direct mode."""

    def assess(critic: Engine, reviser: Engine) -> Mapping[str, Any]:
        found = critic_fitness(critic, settings, constitution, seed, reviser=reviser)
        return found.facts() if found else {}

    return assess


def plain_comparisons() -> tuple[PlainComparison, ...]:
    """The built-in comparisons."""
    file = yaml.safe_load((FOLDER / "comparisons.yaml").read_text(encoding="utf-8"))
    principles = {about: PreferencePrinciple(about, text) for about, text in file["instructions"].items()}
    return tuple(
        PlainComparison(_asks(each["human"]), each["better"], each["worse"], principles[each["about"]])
        for each in file["comparisons"]
    )


def plain_faults() -> tuple[Fault, ...]:
    """The built-in faulty replies."""
    file = yaml.safe_load((FOLDER / "faults.yaml").read_text(encoding="utf-8"))
    return tuple(Fault(_asks(each["human"]), each["reply"], tuple(each["names"])) for each in file["faults"])


def judge_fitness(
    engine: Engine,
    settings: FeedbackSettings,
    constitution: Constitution,
    seed: int,
    comparisons: Sequence[PlainComparison] | None = None,
) -> JudgeFitness:
    """Judge every comparison as the feedback stage would, always in both orders when it does so.

    Worked examples come from `constitution`; the instruction is the comparison's own, so that there is a right answer.
    """
    comparisons = plain_comparisons() if comparisons is None else comparisons
    variants = few_shot_variants(settings, constitution, seed)
    asked = (Order.AB, Order.BA) if settings.order is OptionOrder.BOTH else (Order.AB,)
    questions = {}
    for number, one in enumerate(comparisons):
        # Under A stands the better reply in every second comparison, so that a liking for a letter earns nothing.
        a, b = (one.better, one.worse) if number % 2 == 0 else (one.worse, one.better)
        for order in asked:
            shown = (a, b) if order is Order.AB else (b, a)
            examples = variants[number % len(variants)]
            questions[number, order] = wording.comparison(one.conversation, one.principle, *shown, examples)
    answers = ask_letters(engine, questions)
    told: list[list[float]] = []
    for number in range(len(comparisons)):
        sign = 1 if number % 2 == 0 else -1
        given = [answers[number, order] for order in asked]
        told.append([sign * value for value in given if not isinstance(value, Why)])
    decided = [len(values) == len(asked) for values in told]
    right = [known and sum(values) > 0 for known, values in zip(decided, told, strict=True)]
    both = [(v, number) for number, v in enumerate(told) if len(v) == len(Order)]
    return JudgeFitness(
        accuracy=_known(share(right)),
        orders_agree=share((v[0] > 0) == (v[1] > 0) for v, _ in both),
        # The letter A's pull: half the difference of the orders, in which (as seen from reply A) the sign is undone.
        position_bias=mean([(v[0] - v[1]) / 2 * (1 if number % 2 == 0 else -1) for v, number in both]),
        undecided=_known(share(not known for known in decided)),
        by_subject={
            about: _known(share(ok for ok, one in zip(right, comparisons, strict=True) if one.principle.id == about))
            for about in dict.fromkeys(one.principle.id for one in comparisons)
        },
    )


def critic_fitness(
    engine: Engine,
    settings: RevisionSettings,
    constitution: Constitution,
    seed: int,
    faults: Sequence[Fault] | None = None,
    reviser: Engine | None = None,
) -> CriticFitness | None:
    """Criticise and revise every faulty reply as the revision stage would; None in the direct mode, without critiques.

    `engine` criticises, and revises too when there is no `reviser`. A critique counts as naming its fault only when it
    passes the checks that the stage makes.
    """
    if settings.mode is RevisionMode.DIRECT:
        return None
    faults = plain_faults() if faults is None else faults
    examples = worked_examples(settings, constitution)
    chosen = revision_principles(settings, constitution)
    principles = [draw(chosen, seed, fault.conversation.row_id, "fitness") for fault in faults]
    seeds = [seed_for(seed, "fitness", fault.conversation.row_id) for fault in faults]
    pairs = list(zip(faults, principles, strict=True))
    questions = [wording.critique(fault.conversation, fault.reply, principle, examples) for fault, principle in pairs]
    shown = [
        Shown(_human(fault), (principle.critique_request, principle.revision_request), reply=fault.reply)
        for fault, principle in pairs
    ]
    worked = tuple(example.critique for example in examples)
    critiques = [
        check_critique(critique, replace(before, examples=worked))
        for critique, before in zip(ask(engine, questions, seeds, settings.critique), shown, strict=True)
    ]
    good = [number for number, critique in enumerate(critiques) if critique.outcome is Outcome.OK]
    questions = [
        wording.revision(faults[i].conversation, faults[i].reply, principles[i], critiques[i].text, examples)
        for i in good
    ]
    worked = tuple(example.revision for example in examples)
    written = ask(reviser or engine, questions, [seeds[i] for i in good], settings.revision)
    revisions = [
        check_revision(revision, replace(shown[i], examples=worked, critique=critiques[i].text))
        for i, revision in zip(good, written, strict=True)
    ]
    return _critic(faults, critiques, [(faults[i].reply, each) for i, each in zip(good, revisions, strict=True)])


def _critic(
    faults: Sequence[Fault], critiques: Sequence[Checked], revisions: Sequence[tuple[str, Checked]]
) -> CriticFitness:
    named = [_names(fault, critique) for fault, critique in zip(faults, critiques, strict=True)]
    others = [
        _names(fault, critique) for i, fault in enumerate(faults) for j, critique in enumerate(critiques) if i != j
    ]
    return CriticFitness(
        named=_known(share(named)),
        chance=sum(others) / len(others) if others else 0.0,
        copied=_known(share(Defect.COPIED_EXAMPLE in critique.defects for critique in critiques)),
        passed=_known(share(critique.outcome is Outcome.OK for critique in critiques)),
        unchanged=share(checked.text == reply for reply, checked in revisions if checked.outcome is Outcome.OK),
    )


def _names(fault: Fault, critique: Checked) -> bool:
    return critique.outcome is Outcome.OK and fault.named_by(critique.text)


def _asks(text: str) -> Conversation:
    return Conversation((Turn(Role.HUMAN, text),))


def _human(fault: Fault) -> str:
    return fault.conversation.turns[-1].content


def _known(found: Share | None) -> Share:
    if found is None:
        raise ValueError("no fitness without questions")
    return found
