"""Principles in a trace: text, place in the constitution's file, digest, and the draws that chose them.

A draw is repeated from seed, row and step, so that a trace can also say which principle comes next in it: the one that
would have been drawn without the first. Where the repeated draw is not the one of the row, as in a run with an edited
constitution, nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from solon.constitution.constitution import (
    Constitution,
    PreferencePrinciple,
    RevisionPrinciple,
    draw,
    revision_principles,
)
from solon.constitution.reader import place_of
from solon.digest import digest
from solon.errors import ConstitutionError, RecipeError
from solon.feedback.comparisons import ComparisonPlan, QuestionKey, ShownOrder
from solon.reporting.tracing.trace_parts import PrincipleKind, TracePart, address, facts_of
from solon.runs import RunDirectory
from solon.runs.directory import CONSTITUTION
from solon.runs.rows import LabelRow

AnyPrinciple = RevisionPrinciple | PreferencePrinciple


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleSource:
    """A principle as the constitution has it."""

    kind: PrincipleKind
    id: str
    number: int
    """Its position in its list, counted from 1."""
    texts: tuple[str, ...]
    axis: str
    weight: float
    place: str
    """File and line."""
    digest: str
    """Over kind, id, texts, axis and weight."""

    def part(self) -> TracePart:
        """As a part of a trace."""
        return TracePart(
            address=address(self.kind, self.id),
            title=f"{self.kind.value.capitalize()} principle {self.id}",
            text="\n".join(self.texts),
            facts=facts_of(
                [
                    ("place", self.place),
                    ("number", f"{self.number} in the list '{self.kind.value}'"),
                    ("axis", self.axis),
                    ("weight", self.weight),
                    ("digest", self.digest),
                ]
            ),
        )


@dataclass(frozen=True)
class RunPrinciples:
    """The principles of a run's constitution, and its draws."""

    run: RunDirectory

    def principles(self, kind: PrincipleKind) -> Sequence[AnyPrinciple]:
        """One list of the constitution."""
        constitution: Constitution = self.run.constitution
        return constitution.revision if kind is PrincipleKind.REVISION else constitution.preference

    def source(self, kind: PrincipleKind, id: str) -> PrincipleSource | None:
        """A principle by its id; None when the run's constitution does not have it."""
        for index, each in enumerate(self.principles(kind)):
            if each.id == id:
                return self._source(kind, index, each)
        return None

    def part(self, kind: PrincipleKind, id: str) -> TracePart:
        """A principle as a part of a trace."""
        found = self.source(kind, id)
        if found is not None:
            return found.part()
        lost = facts_of([("place", f"not in {CONSTITUTION} as it is now")])
        return TracePart(
            address=address(kind, id), title=f"{kind.value.capitalize()} principle {id}", facts=lost
        )  # fmt: skip

    def next_for_revision(self, id: str, row_id: str, step: int) -> str | None:
        """The principle that this step would draw without `id`; None where there is no other, or it is not known."""
        return self._next(self._for_revision, id, (row_id, step))

    def next_for_label(self, id: str, axis: str, row_id: str, pair: int) -> str | None:
        """The principle that this pair would draw on its axis without `id`; None as in `next_for_revision`."""
        for each in self.plan.every_axis if self.plan else ():
            if each.name in (None, axis) and any(principle.id == id for principle in each.principles):
                return self._next(each.principles, id, (row_id, pair))
        return None

    def reasoning_seed(self, row: LabelRow, axis: str, order: ShownOrder, sample: int) -> int | None:
        """The seed of one reasoning of a judge about a pair; None where it is not known."""
        for position, each in enumerate(self.plan.axes if self.plan else ()):
            if self.plan is not None and each.name in (None, axis):
                return self.plan.seed_of("reasoning", row, QuestionKey(0, order, position, sample))
        return None

    def _next(self, candidates: Sequence[AnyPrinciple], id: str, key: tuple[str, int]) -> str | None:
        others = [each for each in candidates if each.id != id]
        if not any(each.weight > 0 for each in others) or len(others) == len(candidates):
            return None
        if draw(candidates, self.run.recipe.seed, *key).id != id:
            return None
        return draw(others, self.run.recipe.seed, *key).id

    def _source(self, kind: PrincipleKind, index: int, principle: AnyPrinciple) -> PrincipleSource:
        texts: tuple[str, ...]
        if isinstance(principle, RevisionPrinciple):
            texts = principle.critique_request, principle.revision_request
        else:
            texts = (principle.instruction,)
        try:
            line = place_of(self.run.path / CONSTITUTION, kind.value, index).rpartition(":")[2]
        except ConstitutionError:
            line = "?"
        return PrincipleSource(
            kind=kind,
            id=principle.id,
            number=index + 1,
            texts=texts,
            axis=principle.axis,
            weight=principle.weight,
            place=f"{CONSTITUTION}:{line}",
            digest=digest(kind.value, principle.id, texts, principle.axis, principle.weight),
        )

    @cached_property
    def _for_revision(self) -> Sequence[RevisionPrinciple]:
        try:
            return revision_principles(self.run.recipe.revision, self.run.constitution)
        except RecipeError:  # the constitution was edited since
            return ()

    @cached_property
    def plan(self) -> ComparisonPlan | None:
        """What the judges are asked; None where the constitution does not fit the recipe any more."""
        try:
            return ComparisonPlan.of(self.run.recipe.feedback, self.run.constitution, self.run.recipe.seed)
        except RecipeError:
            return None
