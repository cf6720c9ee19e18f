"""Labelled pairs from files, to train a preference model on labels that were not made in the same run.

The files are Parquet, CSV or JSONL (`.gz` too). Their rows have `prompt`, `chosen` and `rejected` in the form of a
run's tables, or two transcripts, and `p_chosen`, the probability that the chosen reply is better. The hashes of a
finished stage ai-feedback are checked. A row with another `outcome` than `ok`, or without a comparison, keeps its
outcome and is not learned from. A row without a probability is an error that names it, never a label of 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from solon.conversation import Conversation
from solon.errors import InputError, RunError
from solon.runs import Artefact, RunDirectory
from solon.runs.outcome import Outcome
from solon.runs.records import Record, from_record
from solon.runs.rows import LabelRow
from solon.sources.columns import Columns
from solon.sources.comparison_files import Comparison, comparison_in, row_of
from solon.sources.entries import FileForm, entries, file_form

AI_FEEDBACK = "ai-feedback"
_FORM = 'Write {"prompt": messages, "chosen": messages, "rejected": messages, "p_chosen": 0.8}'
_SKIPPED = {"empty reply": Outcome.EMPTY, "equal replies": Outcome.UNDECIDED}


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """The labelled pairs of several sources, in order."""

    found: tuple[LabelRow, ...]

    def rows(self, row: type[LabelRow] = LabelRow) -> list[LabelRow]:
        """The labelled pairs, as the stage preference-model reads them."""
        return list(self.found)


def read_labels(sources: Sequence[Path], columns: Columns | None = None) -> LabelFiles:
    """The pairs of label files, stage folders and run folders.

    Raises InputError naming file and row for what is missing or malformed, and when no pair is usable at all.
    """
    rows = [row for source in sources for row in _rows(source, columns or label_columns())]
    if sources and not any(row.outcome is Outcome.OK for row in rows):
        raise InputError("no usable labelled pairs", place=", ".join(map(str, sources)), remedy=_FORM)
    return LabelFiles(tuple(rows))


def label_columns(called: Mapping[str, str] | None = None) -> Columns:
    """The columns of labels; raises InputError for an unknown name in `called`."""
    return Columns(_COLUMNS, called, option="--set preference.columns.", what="label file")


def label_file_of(source: Path) -> Path:
    """The file with a source's labels; raises InputError or RunError when there is none."""
    return _artefact(source).path / "rows.parquet" if source.is_dir() else source


def _rows(source: Path, columns: Columns) -> Iterator[LabelRow]:
    if source.is_dir():
        records: list[Record] = _artefact(source).table().to_pylist()
        for number, record in enumerate(records, start=1):
            yield _row(
                {name: value for name, value in record.items() if value is not None}, f"{source}: row {number}", number
            )
        return
    for entry in entries(source, columns):
        record = dict(row_of(entry.value, entry.place, _FORM))
        if file_form(source) is FileForm.TABLE:
            record |= {"p_chosen": _number(record.get("p_chosen"))}
        yield _row(record, entry.place, entry.number)


def _number(cell: Any) -> Any:
    """The number in a cell of CSV; any other cell unchanged."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return cell


def _artefact(folder: Path) -> Artefact:
    artefact = RunDirectory.open(folder).finished(AI_FEEDBACK) if (folder / "run.json").exists() else None
    artefact = artefact or Artefact.open(folder)
    if artefact is None:
        raise RunError(
            "no finished labels in the folder",
            place=str(folder),
            remedy="Give a label file, RUN/06-ai-feedback, or a run that has finished it",
        )
    return artefact


_OF_AXES = ("row_id", "pair", "prompt", "response_a", "response_b", "axes")
"""The columns that labels by axis need; copied from tables of Solon that have them."""
_COLUMNS = tuple(dict.fromkeys(("prompt", "messages", "chosen", "rejected", "p_chosen", "outcome", *_OF_AXES)))
_NOTHING = LabelRow(row_id="", pair=0, prompt=Conversation(()), response_a="", response_b="", outcome=Outcome.MALFORMED)
"""A row without texts, which is only counted by its outcome."""


def _row(record: Mapping[str, Any], place: str, number: int) -> LabelRow:
    """A row for the stage; only `ok` rows, and those with labels by axis, have texts."""
    outcome = _outcome(record.get("outcome"), place)
    of_axes = _by_axis(record, place) or _NOTHING
    if outcome is not Outcome.OK:
        return replace(of_axes, outcome=outcome)
    compared = comparison_in(record, number, place)
    if not isinstance(compared, Comparison):
        return replace(of_axes, outcome=_SKIPPED.get(compared, Outcome.MALFORMED))
    return replace(
        of_axes,
        row_id=compared.prompt.row_id,
        pair=of_axes.pair or _pair(record),
        prompt=compared.prompt,
        chosen=compared.chosen,
        rejected=compared.rejected,
        p_chosen=_probability(record.get("p_chosen"), place),
        principle_id=str(record.get("principle_id") or ""),
        outcome=Outcome.OK,
    )


def _pair(record: Mapping[str, Any]) -> int:
    """The number of the pair in its table; 0 when it has none."""
    pair = record.get("pair")
    return pair if isinstance(pair, int) and not isinstance(pair, bool) else 0


def _by_axis(record: Mapping[str, Any], place: str) -> LabelRow | None:
    """The row with its labels by axis, when it has all columns for them."""
    if not all(record.get(name) for name in _OF_AXES):
        return None
    axes = record["axes"]
    if not isinstance(axes, list) or not all(isinstance(each, dict) and each.get("axis") for each in axes):
        raise InputError("'axes' must be a list of labels, each with its 'axis'", place=place, remedy=_FORM)
    for each in axes:
        if each.get("p_a") is not None:
            _probability(each["p_a"], place, "p_a")
    labels: Record = {name: record[name] for name in _OF_AXES} | {"axes": axes, "outcome": Outcome.UNDECIDED.value}
    try:
        return from_record(LabelRow, labels, place)
    except RunError as error:
        raise InputError(error.cause, place=place, remedy=_FORM) from None


def _outcome(value: object, place: str) -> Outcome:
    if value is None:
        return Outcome.OK
    try:
        return Outcome(str(value))
    except ValueError:
        known = ", ".join(Outcome)
        raise InputError(f"unknown outcome {value!r:.40}", place=place, remedy=f"One of: {known}") from None


def _probability(value: object, place: str, name: str = "p_chosen") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(
            f"'{name}' must be a probability between 0 and 1, not {value!r:.40}", place=place, remedy=_FORM
        )
    return float(value)
