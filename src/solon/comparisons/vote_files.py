"""Votes as files: read for ratings, and exported for training.

`solon elo` reads a file of votes (`votes.sqlite`), the folder that holds it, or JSON lines with the columns of
`RatedVote`. A conversation of Solon has the same id in every file; any other id counts within its file. A vote that
stands twice counts once, and two different votes of one judge on one turn are an error.

An export has `votes.jsonl`, a line for each vote, and files of comparisons to learn from. A recipe names people's as
`preference.human_helpfulness` and `preference.human_harmlessness`; those of a judging model are no human's and have
files of their own, with the judge's name on each line. Votes of an oracle are never learned from. A tie is no
comparison, and neither are two replies of which one is empty; all that is left out is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from solon.comparisons.vote_rows import JudgedBy, Preferred, RatedVote, VoteRecord
from solon.comparisons.vote_store import HEADER, VOTES, VoteStore
from solon.config.json_lines import json_line, nonblank_lines
from solon.conversation import is_blank
from solon.digest import digest
from solon.errors import InputError, RunError
from solon.runs.files import replacing
from solon.runs.records import Record, from_record, to_record

LINES = "votes.jsonl"
_OWN_ID = re.compile(r"[0-9a-f]{16}")
"""The id of a conversation of Solon (`TurnTaking.begin`): random, or a digest."""
_FORM = 'Write {"mode": "helpfulness", "model_a": "...", "model_b": "...", "preferred": "a", "b" or "tie"}'


@dataclass(frozen=True, slots=True)
class ExportedVotes:
    """What was exported: the number of votes, and of comparisons by file."""

    votes: int
    lines: Path
    comparisons: Mapping[Path, int]
    left_out: Mapping[str, int]
    """Votes that are no comparison, by reason."""


@dataclass(frozen=True, slots=True)
class CountedVotes:
    """The votes of all files, in order."""

    votes: tuple[RatedVote, ...]
    repeated: int
    """Votes that stand in the files once more, and do not count again."""


@dataclass(frozen=True, slots=True)
class _PlacedVote:
    """A vote as its file has it."""

    vote: RatedVote
    place: str
    conversation: str
    """The id of its conversation among all files."""
    replies: str
    """A digest of the two replies; empty where the file does not have them."""

    @property
    def turn(self) -> tuple[object, ...]:
        """What one judge votes on once: two models at a turn, with their replies."""
        vote = self.vote
        pair = frozenset((vote.model_a, vote.model_b))
        return self.conversation, vote.number, vote.mode, pair, vote.judged_by, vote.judge, self.replies

    @property
    def choice(self) -> tuple[Preferred, str]:
        """The vote, whichever reply was shown first."""
        if self.vote.preferred is Preferred.B:
            return Preferred.A, self.vote.model_b
        return self.vote.preferred, self.vote.model_a if self.vote.preferred is Preferred.A else ""


@dataclass(slots=True)
class _VotesOnce:
    """The votes that are new. Only those that name their turn can be told apart: others may well be equal."""

    known: set[RatedVote] = field(default_factory=set)
    turns: dict[tuple[object, ...], _PlacedVote] = field(default_factory=dict)
    repeated: int = 0

    def new(self, found: Iterable[_PlacedVote]) -> Iterator[RatedVote]:
        """Raises InputError for two different votes of one judge on the same turn."""
        for each in found:
            if self._is_repeated(each):
                self.repeated += 1
            else:
                yield replace(each.vote, conversation=each.conversation)

    def _is_repeated(self, each: _PlacedVote) -> bool:
        if not (each.vote.conversation and each.vote.number):
            return False
        if each.vote.cast_at:
            if each.vote in self.known:
                return True
            self.known.add(each.vote)
        earlier = self.turns.setdefault(each.turn, each)
        if earlier is each:
            return False
        if earlier.choice != each.choice:
            raise InputError(
                f"turn {each.vote.number} of the conversation '{each.vote.conversation}' has another vote by the same "
                f"judge ({earlier.place})",
                place=each.place,
                remedy='Remove one of the two, or name in a column "judge" who cast each',
            )
        return True


def read_votes(paths: Sequence[Path]) -> list[RatedVote]:
    """The votes of `counted_votes`, and raises as it does."""
    return list(counted_votes(paths).votes)


def counted_votes(paths: Sequence[Path]) -> CountedVotes:
    """The votes of all files, in order; one that stands in them again counts once.

    It does when it is on the same turn, by the same judge and of the same models, as in a file and its export. Raises
    InputError for a file that is missing, named twice or of another kind, where there is no vote, and where two votes
    of one judge on the same turn differ.
    """
    files = [path / VOTES if path.is_dir() else path for path in paths]
    for place, file in enumerate(files):
        if file.resolve() in [earlier.resolve() for earlier in files[:place]]:
            raise InputError("the file of votes is named twice", place=str(file), remedy="Name each file once")
    once = _VotesOnce()
    votes = tuple(once.new(vote for file in files for vote in _votes_in(file, scoped=len(files) > 1)))
    if not votes:
        remedy = "Cast votes with: solon compare MODEL_A MODEL_B"
        raise InputError("there is no vote", place=", ".join(map(str, paths)), remedy=remedy)
    return CountedVotes(votes, once.repeated)


def _votes_in(path: Path, *, scoped: bool) -> Iterator[_PlacedVote]:
    """The votes of a file; `scoped`, where other files are read too, tells the ids of other programs apart by file."""

    def placed(vote: RatedVote, place: str, replies: Sequence[object]) -> _PlacedVote:
        own = not vote.conversation or _OWN_ID.fullmatch(vote.conversation)
        id_ = f"{vote.conversation} of {path}" if scoped and not own else vote.conversation
        texts = sorted(zip((vote.model_a, vote.model_b), replies, strict=True)) if all(map(_is_text, replies)) else ()
        return _PlacedVote(vote, place, id_, digest(*texts) if texts else "")

    if path.name == VOTES or _is_database(path):
        for record in VoteStore.existing(path).records():
            vote = RatedVote(**{each.name: getattr(record, each.name) for each in fields(RatedVote)})
            place = f"{path}, conversation {vote.conversation}, turn {vote.number}"
            yield placed(vote, place, (record.reply_a, record.reply_b))
        return
    for number, line in nonblank_lines(path, "file of votes"):
        place = f"{path}:{number}"
        values = json_line(line, place).object("vote", _FORM)
        try:
            vote = from_record(RatedVote, values, place)
        except RunError as error:
            raise InputError(error.cause, place=place, remedy=_FORM) from None
        yield placed(_checked_vote(vote, place), place, (values.get("reply_a"), values.get("reply_b")))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _checked_vote(vote: RatedVote, place: str) -> RatedVote:
    """The vote of a line; raises InputError for one whose columns have other types, or on one model alone."""
    for column in ("conversation", "model_a", "model_b", "judge", "cast_at"):
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
    """The vote in the form that `solon.sources.comparison_files` reads, with the judge where a model chose."""
    replies = {Preferred.A: record.reply_a, Preferred.B: record.reply_b}
    chosen, rejected = (Preferred.A, Preferred.B) if record.preferred is Preferred.A else (Preferred.B, Preferred.A)
    return {
        "prompt": record.prompt.messages(),
        "chosen": [{"role": "assistant", "content": replies[chosen]}],
        "rejected": [{"role": "assistant", "content": replies[rejected]}],
        "strength": None if record.strength is None else str(record.strength),
        **({"judge": record.judge} if record.judged_by is JudgedBy.MODEL else {}),
    }


def _write(path: Path, records: Iterable[Record]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
