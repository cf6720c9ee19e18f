"""Votes as files: read for ratings, and exported for training.

`solon elo` reads a file of votes (`votes.sqlite`), the folder that holds it, or JSON lines with the columns of
`RatedVote`. An export has `votes.jsonl`, a line for each vote, and files of comparisons to learn from. A recipe names
people's as `preference.human_helpfulness` and `preference.human_harmlessness`; those of a judging model are no human's
and have files of their own. Votes of an oracle are never learned from. A tie is no comparison, and neither are two
replies of which one is empty; all that is left out is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from solon.comparisons.vote_rows import JudgedBy, Preferred, RatedVote, VoteRecord
from solon.comparisons.vote_store import HEADER, VOTES, VoteStore
from solon.config.json_lines import json_line, nonblank_lines
from solon.conversation import is_blank
from solon.errors import InputError, RunError
from solon.runs.files import replacing
from solon.runs.records import Record, from_record, to_record

LINES = "votes.jsonl"
_FORM = 'Write {"mode": "helpfulness", "model_a": "...", "model_b": "...", "preferred": "a", "b" or "tie"}'


@dataclass(frozen=True, slots=True)
class ExportedVotes:
    """What was exported: the number of votes, and of comparisons by file."""

    votes: int
    lines: Path
    comparisons: Mapping[Path, int]
    left_out: Mapping[str, int]
    """Votes that are no comparison, by reason."""


def read_votes(paths: Sequence[Path]) -> list[RatedVote]:
    """The votes of all files, in order; one that stands in several, such as a file and its export, counts once.

    Raises InputError for a file that is missing, named twice or of another kind, and where there is no vote.
    """
    files = [path / VOTES if path.is_dir() else path for path in paths]
    for place, file in enumerate(files):
        if file.resolve() in [earlier.resolve() for earlier in files[:place]]:
            raise InputError("the file of votes is named twice", place=str(file), remedy="Name each file once")
    votes = list(_once(vote for file in files for vote in _votes_in(file)))
    if not votes:
        remedy = "Cast votes with: solon compare MODEL_A MODEL_B"
        raise InputError("there is no vote", place=", ".join(map(str, paths)), remedy=remedy)
    return votes


def _votes_in(path: Path) -> Iterator[RatedVote]:
    if path.name == VOTES or _is_database(path):
        for record in VoteStore.existing(path).records():
            yield RatedVote(**{field.name: getattr(record, field.name) for field in fields(RatedVote)})
        return
    for number, line in nonblank_lines(path, "file of votes"):
        place = f"{path}:{number}"
        values = json_line(line, place).object("vote", _FORM)
        try:
            vote = from_record(RatedVote, values, place)
        except RunError as error:
            raise InputError(error.cause, place=place, remedy=_FORM) from None
        yield _checked_vote(vote, place)


def _once(votes: Iterable[RatedVote]) -> Iterator[RatedVote]:
    """The votes, each once. Only those that name their turn can be told apart: others may well be equal."""
    known: set[RatedVote] = set()
    for vote in votes:
        if vote not in known:
            yield vote
        if vote.conversation and vote.number and vote.cast_at:
            known.add(vote)


def _checked_vote(vote: RatedVote, place: str) -> RatedVote:
    """The vote of a line; raises InputError for one whose columns have other types, or on one model alone."""
    for column in ("conversation", "model_a", "model_b", "cast_at"):
        if not isinstance(getattr(vote, column), str):
            raise InputError(f"the column '{column}' is not a text", place=place, remedy=_FORM)
    if not isinstance(vote.number, int):
        raise InputError("the column 'number' is not a number", place=place, remedy=_FORM)
    if vote.model_a == vote.model_b:
        raise InputError(f"the vote compares '{vote.model_a}' with itself", place=place, remedy=_FORM)
    return vote


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def export_votes(store: VoteStore, folder: Path) -> ExportedVotes:
    """Write `votes.jsonl` and the comparisons of each mode, each whole or not at all; raises RunError."""
    records = list(store.records())
    lines = folder / LINES
    _write(lines, (to_record(record) for record in records))
    left_out: dict[str, int] = {}
    compared: dict[Path, list[Record]] = {}
    for record in records:
        why = _why_left_out(record)
        if why is None:
            by = "" if record.judged_by is JudgedBy.PERSON else f"-by-{record.judged_by}"
            compared.setdefault(folder / f"{record.mode}{by}.jsonl", []).append(_comparison(record))
        else:
            left_out[why] = left_out.get(why, 0) + 1
    for path, rows in compared.items():
        _write(path, rows)
    return ExportedVotes(len(records), lines, {path: len(rows) for path, rows in compared.items()}, left_out)


def _why_left_out(record: VoteRecord) -> str | None:
    """Why a vote is no comparison to learn from, if so."""
    if record.judged_by is JudgedBy.ORACLE:
        return "by an oracle"
    if record.preferred is Preferred.UNDECIDED:
        return "undecided"
    if record.preferred is Preferred.TIE:
        return "tie"
    if is_blank(record.reply_a) or is_blank(record.reply_b):
        return "empty reply"
    return "equal replies" if record.reply_a == record.reply_b else None


def _comparison(record: VoteRecord) -> Record:
    """The vote in the form that `solon.sources.comparison_files` reads."""
    replies = {Preferred.A: record.reply_a, Preferred.B: record.reply_b}
    chosen, rejected = (Preferred.A, Preferred.B) if record.preferred is Preferred.A else (Preferred.B, Preferred.A)
    return {
        "prompt": record.prompt.messages(),
        "chosen": [{"role": "assistant", "content": replies[chosen]}],
        "rejected": [{"role": "assistant", "content": replies[rejected]}],
        "strength": None if record.strength is None else str(record.strength),
    }


def _write(path: Path, records: Iterable[Record]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
