"""The parts of a constitution in one file, and the constitution from the parts of several files.

Losses are reported as messages; nothing is invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from solon.constitution.constitution import (
    ComparisonExample,
    Constitution,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)
from solon.errors import InputError


@dataclass(frozen=True, slots=True)
class Parts:
    """Principles and worked examples; `losses` lists what the file has and a constitution cannot hold."""

    revision: tuple[RevisionPrinciple, ...] = ()
    preference: tuple[PreferencePrinciple, ...] = ()
    critique_examples: tuple[CritiqueExample, ...] = ()
    comparison_examples: tuple[ComparisonExample, ...] = ()
    reasoned_examples: tuple[ReasonedExample, ...] = ()
    losses: tuple[str, ...] = ()

    def counts(self) -> str:
        """The numbers of parts, in words."""
        named = {
            "revision principle": self.revision,
            "preference principle": self.preference,
            "worked critique": self.critique_examples,
            "worked comparison": self.comparison_examples,
            "reasoned comparison": self.reasoned_examples,
        }
        words = [f"{len(each)} {name}{'s' if len(each) != 1 else ''}" for name, each in named.items() if each]
        return ", ".join(words) or "nothing"


def unique_ids(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Ids for principles with these names, repeated ones numbered, and a message about each of those."""
    ids: list[str] = []
    said = []
    for name in names:
        id, number = name, 1
        while id in ids:
            number += 1
            id = f"{name}-{number}"
        if id != name:
            said.append(f"the name '{name}' is used more than once; one principle gets the id '{id}'")
        ids.append(id)
    return ids, said


Rule = TypeVar("Rule", RevisionPrinciple, PreferencePrinciple)


def join(found: Sequence[tuple[Path, Parts]], name: str, other: Constitution | None) -> tuple[Constitution, list[str]]:
    """One constitution from all parts, in the order of the files, and messages about changes.

    A kind of principle that no file has is copied from `other`. Raises InputError when a kind is missing and there is
    no `other`.
    """
    said: list[str] = []
    parts = [each for _, each in found]
    revision = _joined((each.revision for each in parts), said)
    preference = _joined((each.preference for each in parts), said)
    if other is not None:
        for kind, mine, theirs in (
            ("revision", revision, other.revision),
            ("preference", preference, other.preference),
        ):
            if not mine:
                said.append(f"{len(theirs)} {kind} principles are those of '{other.name}'")
        revision, preference = revision or other.revision, preference or other.preference
    for kind, there in (("revision", revision), ("preference", preference)):
        if not there:
            raise InputError(
                f"no {kind} principles in the files, and a constitution needs both kinds",
                place=", ".join(str(path) for path, _ in found),
                remedy="Add a file with them, or take them from another constitution, e.g. "
                "--complete-with harmlessness",
            )
    files = ", ".join(path.name for path, _ in found)
    made = Constitution(
        name=name,
        description=f"Imported from {files}.",
        revision=revision,
        preference=preference,
        critique_examples=tuple(chain.from_iterable(each.critique_examples for each in parts)),
        comparison_examples=tuple(chain.from_iterable(each.comparison_examples for each in parts)),
        reasoned_examples=tuple(chain.from_iterable(each.reasoned_examples for each in parts)),
    )
    return made, said


def _joined(parts: Iterable[tuple[Rule, ...]], said: list[str]) -> tuple[Rule, ...]:
    rules = list(chain.from_iterable(parts))
    ids, renamed = unique_ids([rule.id for rule in rules])
    said += renamed
    return tuple(replace(rule, id=id) for rule, id in zip(rules, ids, strict=True))
