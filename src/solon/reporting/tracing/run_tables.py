"""The tables of a run by row id: which stages have rows of which kind, and the rows of one prompt.

A row id is the hash of the prompt, so one id finds what every stage made of the prompt. Only the column of ids and the
rows that are asked for are read, because tables may be larger than memory.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from solon.runs import Artefact, RunDirectory
from solon.runs.evaluation_rows import AnswerRow
from solon.runs.manifest import ROWS
from solon.runs.records import from_record
from solon.runs.rows import LabelRow, PairRow, PromptRow, ReplyRow, RevisionRow
from solon.runs.table import column_of, rows_of
from solon.runs.training_rows import EXAMPLES, SAMPLES, PreferenceExampleRow, SampleRow, SftExampleRow
from solon.stages import plan

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TableKind:
    """A table that a trace can begin with: its file, its rows, and what tells the rows of one prompt apart."""

    file: str
    row: type[Any]
    number: str
    """What the last word of an address counts, in words for people."""
    key: Callable[[Any], object]
    """The last word of a row's address; None where a prompt has one row."""


def _step_or_sample(row: SftExampleRow) -> object:
    return row.sample if row.step is None else row.step


def preference_key(row: PreferenceExampleRow) -> object:
    """The pair of an AI label; the source and line of a human comparison, as there may be two files of those."""
    return f"{row.source}-{row.line}" if row.pair is None else row.pair


_PREFERENCES = TableKind(EXAMPLES, PreferenceExampleRow, "pair, or source and line of a comparison", preference_key)
_POLICY = TableKind(SAMPLES, SampleRow, "step", lambda row: row.step)
TABLES: Mapping[str, TableKind] = {
    plan.PROMPTS: TableKind(ROWS, PromptRow, "", lambda row: None),
    plan.RESPONSES: TableKind(ROWS, ReplyRow, "sample", lambda row: row.sample),
    plan.CRITIQUE_REVISION: TableKind(ROWS, RevisionRow, "step", lambda row: row.step),
    plan.SL_CAI: TableKind(EXAMPLES, SftExampleRow, "step of a revision, or sample of a reply", _step_or_sample),
    plan.RESPONSE_PAIRS: TableKind(ROWS, PairRow, "pair", lambda row: row.pair),
    plan.AI_FEEDBACK: TableKind(ROWS, LabelRow, "pair", lambda row: row.pair),
    plan.PREFERENCE_MODEL: _PREFERENCES,
    plan.HELD_OUT_MODEL: _PREFERENCES,
    plan.RL_CAI: _POLICY,
    plan.RLHF: _POLICY,
    plan.MEASURE: TableKind(ROWS, AnswerRow, "model", lambda row: row.model),
}
"""By the name of the stage in the first round."""


@dataclass(slots=True)
class RunTables:
    """The finished tables of a run that have rows of prompts."""

    run: RunDirectory
    artefacts: Mapping[str, Artefact]
    _ids: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunDirectory) -> RunTables:
        """Raises RunError as `RunDirectory.artefacts` does."""
        return cls(run, {artefact.name: artefact for artefact in run.artefacts()})

    def names(self) -> list[str]:
        """The stages whose tables are there, in the order of the run."""
        return [name for name in self.artefacts if self._kind(name) is not None and self._file(name) is not None]

    def count(self, name: str) -> int:
        """How many rows a stage's table has."""
        return len(self.ids(name))

    def ids(self, name: str) -> list[str]:
        """The row id of every row of a stage's table, in order."""
        if name not in self._ids:
            file = self._file(name)
            if file is None:
                self._ids[name] = []
            elif file.suffix == ".jsonl":
                self._ids[name] = [str(record["row_id"]) for record in _lines(file)]
            else:
                self._ids[name] = column_of(file, "row_id")
        return self._ids[name]

    def all_ids(self) -> list[str]:
        """Every row id of the run, sorted."""
        return sorted({row_id for name in self.names() for row_id in self.ids(name)})

    def rows(self, name: str, row: type[R], row_id: str) -> list[R]:
        """The rows of one prompt in a stage's table; empty where the stage is not finished."""
        file = self._file(name)
        numbers = [number for number, each in enumerate(self.ids(name)) if each == row_id]
        if file is None or not numbers:
            return []
        if file.suffix == ".jsonl":
            records = _lines(file)
            return [from_record(row, records[number], str(file)) for number in numbers]
        return list(rows_of(file, row, numbers))

    def keys(self, name: str, row_id: str) -> list[str]:
        """The last words of the addresses of a prompt's rows in a stage's table."""
        kind = self._kind(name)
        found = [] if kind is None else [kind.key(row) for row in self.rows(name, kind.row, row_id)]
        return list(dict.fromkeys(str(key) for key in found if key is not None))

    def number_of(self, name: str) -> str:
        """What the last word of an address in a stage's table counts."""
        kind = self._kind(name)
        return "" if kind is None else kind.number

    def beside(self, name: str, file: str) -> Path | None:
        """Another file of a finished stage, hash checked; None where it is not there."""
        artefact = self.artefacts.get(name)
        if artefact is None or file not in artefact.manifest.files:
            return None
        artefact.verify(file)
        return artefact.path / file

    def _kind(self, name: str) -> TableKind | None:
        return TABLES.get(plan.out_of_round(name))

    def _file(self, name: str) -> Path | None:
        kind = self._kind(name)
        return None if kind is None else self.beside(name, kind.file)


def records_of(tables: RunTables, file: str, row_id: str) -> Iterator[dict[str, Any]]:
    """The lines of one prompt in a JSON Lines file of the measure stage, such as its ratings."""
    path = tables.beside(plan.MEASURE, file)
    yield from (record for record in (_lines(path) if path else ()) if record.get("row_id") == row_id)


def near_ids(word: str, ids: Sequence[str], most: int = 3) -> list[str]:
    """The ids that begin most like a word, of the sorted `ids`; none where not even three characters are the same."""
    place = bisect_left(ids, word)
    around = ids[max(0, place - most) : place + most]
    alike = {
        each: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(word, each, strict=False)))
        for each in around
    }
    return sorted((each for each in around if alike[each] >= 3), key=lambda each: -alike[each])[:most]


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
