"""How good a critic is: whether its critiques name the fault that a reply plainly has, and what revisions make of it.

The chance level of a critic is measured: how often its critiques would name the faults of the *other* replies, which is
what general talk of harm is worth. A critique that fails the checks of the revision stage names nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from solon import prompts
from solon.checks.rules import Defect
from solon.checks.texts import Checked, Shown, check_critique, check_revision
from solon.config.recipe import RevisionMode, RevisionSettings
from solon.constitution.constitution import Constitution, draw, revision_principles, worked_critiques
from solon.digest import seed_for
from solon.engines.base import Engine
from solon.evals.judge_check.known_answers import Fault, plain_faults
from solon.feedback.ask import ask
from solon.runs.outcome import Outcome
from solon.stats.intervals import Share, share

CheckCritic = Callable[[Engine, Engine], Mapping[str, Any]]
"""Measures critic and reviser on replies with known faults; the stage keeps the result in its facts."""


@dataclass(frozen=True, slots=True)
class CriticCheck:
    """How often a critique names a plain fault, and what else becomes of critiques and revisions."""

    named: Share
    chance: float
    by_kind: Mapping[str, Share]
    """Faults named, by what kind of fault they are."""
    copied: Share
    """Critiques that repeat a worked example."""
    passed: Share
    """Critiques that pass every check."""
    unchanged: Share | None
    """Revisions that are the reply as it was, among those that pass every check."""

    def facts(self) -> dict[str, Any]:
        """As `solon results --json` and the report read it: the share of faults named, and the rest."""
        return {
            "critic": {
                **self.named.facts(),
                "chance": self.chance,
                "what": "replies with a plain fault",
                "by_kind": {name: part.facts() for name, part in self.by_kind.items()},
                "copied": self.copied.facts(),
                "passed": self.passed.facts(),
                "unchanged": self.unchanged.facts() if self.unchanged else None,
            }
        }


def check_critic(
    settings: RevisionSettings, constitution: Constitution, seed: int, faults: Sequence[Fault] | None = None
) -> CheckCritic:
    """What the revision stage calls to have its critic and reviser measured; no figures in the direct mode."""

    def assess(critic: Engine, reviser: Engine) -> Mapping[str, Any]:
        found = read_critic_check(critic, settings, constitution, seed, faults, reviser)
        return found.facts() if found else {}

    return assess


def read_critic_check(
    engine: Engine,
    settings: RevisionSettings,
    constitution: Constitution,
    seed: int,
    faults: Sequence[Fault] | None = None,
    reviser: Engine | None = None,
) -> CriticCheck | None:
    """Criticise and revise every faulty reply as the revision stage would; None in the direct mode, without critiques.

    `engine` criticises, and revises too when there is no `reviser`. A critique counts as naming its fault only when it
    passes the checks that the stage makes.
    """
    if settings.mode is RevisionMode.DIRECT:
        return None
    faults = plain_faults() if faults is None else faults
    examples = worked_critiques(settings, constitution)
    chosen = revision_principles(settings, constitution)
    principles = [fault.principle or draw(chosen, seed, fault.conversation.row_id, "judge_check") for fault in faults]
    seeds = [seed_for(seed, "fitness", fault.conversation.row_id) for fault in faults]
    pairs = list(zip(faults, principles, strict=True))
    questions = [
        prompts.critique(fault.conversation, fault.reply, principle, examples, settings.form)
        for fault, principle in pairs
    ]
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
        prompts.revision(
            faults[i].conversation, faults[i].reply, principles[i], critiques[i].text, examples, settings.form
        )
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
) -> CriticCheck:
    named = [_names(fault, critique) for fault, critique in zip(faults, critiques, strict=True)]
    others = [
        _names(fault, critique) for i, fault in enumerate(faults) for j, critique in enumerate(critiques) if i != j
    ]
    return CriticCheck(
        named=_known(share(named)),
        chance=sum(others) / len(others) if others else 0.0,
        by_kind={
            kind: _known(share(ok for ok, fault in zip(named, faults, strict=True) if fault.kind == kind))
            for kind in dict.fromkeys(fault.kind for fault in faults)
        },
        copied=_known(share(Defect.COPIED_EXAMPLE in critique.defects for critique in critiques)),
        passed=_known(share(critique.outcome is Outcome.OK for critique in critiques)),
        unchanged=share(checked.text == reply for reply, checked in revisions if checked.outcome is Outcome.OK),
    )


def _names(fault: Fault, critique: Checked) -> bool:
    return critique.outcome is Outcome.OK and fault.named_by(critique.text)


def _human(fault: Fault) -> str:
    return fault.conversation.turns[-1].content


def _known(found: Share | None) -> Share:
    if found is None:
        raise ValueError("a check needs at least one question")
    return found
