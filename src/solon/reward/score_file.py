"""Scores for a file of conversations, line by line.

A row of JSONL, CSV or Parquet holds two replies to compare (`chosen` and `rejected`, with or without `prompt`) or one
conversation (`messages`, or `prompt` with `completion`), in every form that `solon.sources.replies` reads. The output
is the row with its scores added. A conversation longer than the model's window is not cut: its scores are null, and
`unscored` says why. The file is read before the model, so that a malformed line costs no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role
from solon.errors import InputError
from solon.reward.scorer import PreferenceScorer, Zero
from solon.sources.columns import OPTION, Columns, without_not_finite
from solon.sources.comparison_files import row_of
from solon.sources.entries import entries
from solon.sources.replies import PAIR, conversation_in, dialogues_in, refuse_opening_assistant
from solon.stats.log_odds import sigmoid
from solon.training.encoding import Tokens

CHUNK = 256
_FORM = 'Write {"messages": [...]}, {"prompt": [...], "completion": [...]} or {"chosen": ..., "rejected": ...}'
COLUMNS = ("prompt", "messages", "completion", *PAIR)


@dataclass(frozen=True, slots=True)
class Scorable:
    """A line's record, with its one or two conversations."""

    record: Mapping[str, Any]
    conversations: tuple[Conversation, ...]


def read_scorable(path: Path, called: Mapping[str, str] | None = None) -> Iterator[Scorable]:
    """The lines of a file in order; `called` maps columns to their names in the file.

    Raises InputError naming file and line, for a file without lines, and for a column in `called` that no line has.
    """
    empty, columns = True, Columns(COLUMNS, called, option=OPTION, what="file of conversations", whole=True)
    for entry in entries(path, columns):
        empty = False
        row = row_of(entry.value, entry.place, _FORM)
        if not row:
            keys = ", ".join(map(repr, entry.record)) or "nothing"
            cause = f"the line holds no conversation (found {keys:.80})"
            raise InputError(cause, place=entry.place, remedy=f"{_FORM}, or name its columns: {columns.example}")
        record = without_not_finite(dict(entry.record))  # NaN is not valid JSON
        yield Scorable(record, _conversations(row, entry.place))
    if empty:
        raise InputError("the file is empty", place=str(path), remedy=_FORM)
    columns.refuse_unmet(str(path))


def scored(scorables: Iterable[Scorable], scorer: PreferenceScorer, zero: Zero) -> Iterator[dict[str, Any]]:
    """The records with their scores added, in order; scored a chunk at a time."""
    remaining = iter(scorables)
    while chunk := list(islice(remaining, CHUNK)):
        tokens = [scorer.tokens(each.conversations) for each in chunk]
        fitting = [all(map(scorer.fits, each)) for each in tokens]
        flat = [one for each, fits in zip(tokens, fitting, strict=True) if fits for one in each]
        scores = iter(scorer.score(flat, zero))
        for each, found, fits in zip(chunk, tokens, fitting, strict=True):
            given = tuple(islice(scores, len(found))) if fits else (None,) * len(found)
            yield {**each.record, **_columns(given), **({} if fits else {"unscored": _too_long(found, scorer)})}


def _columns(scores: Sequence[float | None]) -> dict[str, float | None]:
    if len(scores) == 1:
        return {"score": scores[0]}
    chosen, rejected = scores
    known = chosen is not None and rejected is not None
    p = sigmoid(chosen - rejected) if known else None  # type: ignore[operator]
    return {"score_chosen": chosen, "score_rejected": rejected, "p_chosen_scored": p}


def _too_long(tokens: Sequence[Tokens], scorer: PreferenceScorer) -> str:
    return f"{max(map(len, tokens))} tokens, and the window is {scorer.model.encoding.window}"


def _conversations(row: Mapping[str, Any], place: str) -> tuple[Conversation, ...]:
    if all(name in row for name in PAIR):
        found = dialogues_in(row, {name: row[name] for name in PAIR}, place, _FORM)
    elif "prompt" in row and "completion" in row:
        found = dialogues_in(row, {"completion": row["completion"]}, place, _FORM)
    elif "messages" in row:
        found = (conversation_in(row["messages"], "messages", place, _FORM),)
    else:
        keys = ", ".join(map(repr, row))
        raise InputError(f"the line holds no conversation (found {keys:.80})", place=place, remedy=_FORM)
    for conversation in found:
        if len(conversation.turns) < 2 or conversation.turns[-1].role is not Role.ASSISTANT:
            cause = "the conversation is not a prompt with a reply"
            raise InputError(cause, place=place, remedy=_FORM)
        refuse_opening_assistant(conversation, place)
    return found
