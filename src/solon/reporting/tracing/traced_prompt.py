"""One prompt of a run, as the parts of its trace are made: its rows, and what stands beside them in other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from solon.conversation import Conversation, transcript
from solon.evals.grading import RATINGS
from solon.reporting.tracing.run_tables import RunTables, records_of
from solon.reporting.tracing.trace_parts import address
from solon.reporting.tracing.trace_principles import RunPrinciples
from solon.runs.table import column_of, rows_of
from solon.stages import plan

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TracedPrompt:
    """A prompt by its row id, the tables of its run, and the run's principles."""

    tables: RunTables
    principles: RunPrinciples
    row_id: str

    @property
    def prompt(self) -> str:
        """The address of the prompt."""
        return address(plan.PROMPTS, self.row_id)

    def ratings(self) -> dict[int, Sequence[str]]:
        """The grader's labels of the reply (0) and of its revisions, by step."""
        found = (each for each in records_of(self.tables, RATINGS, self.row_id) if each.get("of") == "revision")
        return {int(each["step"]): each.get("labels") or () for each in found}

    def beside(self, name: str, file: str, row: type[R]) -> list[R]:
        """The prompt's rows in another table of a stage; empty where there is none."""
        path = self.tables.beside(name, file)
        if path is None:
            return []
        numbers = [number for number, each in enumerate(column_of(path, "row_id")) if each == self.row_id]
        return list(rows_of(path, row, numbers)) if numbers else []


def said(prompt: Conversation) -> str:
    """A prompt as text: its one turn, or a transcript of several."""
    return prompt.turns[0].content if len(prompt.turns) == 1 else transcript(prompt.turns).strip()


def labels_in(labels: Iterable[str] | None) -> str | None:
    """Labels in a line; None where nothing was rated."""
    return None if labels is None else ", ".join(labels) or "none"


def with_defects(outcome: str, defects: Sequence[str]) -> str:
    """An outcome with what the rules for texts found."""
    return f"{outcome} ({', '.join(defects)})" if defects else outcome
