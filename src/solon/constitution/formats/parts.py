"""What a reader finds in one file: some parts of a constitution, and what it could not keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solon.constitution.constitution import (
    ComparisonExample,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Principles and worked examples; `losses` says by name what the file holds and a constitution does not."""

    revision: tuple[RevisionPrinciple, ...] = ()
    preference: tuple[PreferencePrinciple, ...] = ()
    critique_examples: tuple[CritiqueExample, ...] = ()
    comparison_examples: tuple[ComparisonExample, ...] = ()
    reasoned_examples: tuple[ReasonedExample, ...] = ()
    losses: tuple[str, ...] = ()

    def counts(self) -> str:
        """What there is, in words."""
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
    """Ids for principles by these names, a repeated one numbered, and the sentences that say so."""
    ids: list[str] = []
    said = []
    for name in names:
        id, number = name, 1
        while id in ids:
            number += 1
            id = f"{name}-{number}"
        if id != name:
            said.append(f"the name '{name}' stands more than once; one of them gets the id '{id}'")
        ids.append(id)
    return ids, said
