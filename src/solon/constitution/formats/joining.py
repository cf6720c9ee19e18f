"""Several files' parts made one constitution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from solon.constitution.constitution import Constitution, PreferencePrinciple, RevisionPrinciple
from solon.constitution.formats.parts import Parts, unique_ids
from solon.errors import InputError

Rule = TypeVar("Rule", RevisionPrinciple, PreferencePrinciple)


def join(found: Sequence[tuple[Path, Parts]], name: str, other: Constitution | None) -> tuple[Constitution, list[str]]:
    """One constitution of all parts, in the order of the files, and sentences on what had to be done for it.

    A kind of principle that no file has is taken from `other`; nothing is made up. Raises InputError when a kind is
    lacking and there is no `other`.
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
                f"the files hold no {kind} principles, and a constitution needs both kinds",
                place=", ".join(str(path) for path, _ in found),
                remedy="Name a file that has them, or take them from another constitution, e.g. "
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
