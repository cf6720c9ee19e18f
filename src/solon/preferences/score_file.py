"""Scores for a file of conversations, line by line.

A line is a JSON object that holds one conversation (`messages`, or `prompt` with `completion`) or two to compare
(`chosen` and `rejected`, with or without `prompt`), each as messages or as a transcript. It comes back with its scores
added. A conversation that is longer than the model's window is not cut: its scores are null, and `unscored` says why.
The whole file is read before the model is, so that a malformed line costs no time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role
from solon.errors import InputError
from solon.preferences.scorer import Scorer, Zero
from solon.sources.comparisons import continued, conversation_from, record_in
from solon.sources.entries import read_lines
from solon.training.encoding import Tokens

CHUNK = 256
_FORM = 'Write {"messages": [...]}, {"prompt": [...], "completion": [...]} or {"chosen": ..., "rejected": ...}'
PAIR = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Scorable:
    """A line's record, and the one conversation or the two that it holds."""

    record: Mapping[str, Any]
    conversations: tuple[Conversation, ...]


def read_scorable(path: Path) -> Iterator[Scorable]:
    """The lines of a file in order; raises InputError naming file and line, and for a file without any."""
    empty = True
    for number, line in read_lines(path):
        empty = False
        place = f"{path}:{number}"
        record = record_in(line, place)
        yield Scorable(record, _conversations(record, place))
    if empty:
        raise InputError("the file is empty", place=str(path), remedy=_FORM)


def scored(scorables: Iterable[Scorable], scorer: Scorer, zero: Zero) -> Iterator[dict[str, Any]]:
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
    # tanh, because exp overflows where a difference is absurdly large
    p = 0.5 * (1 + math.tanh((chosen - rejected) / 2)) if known else None  # type: ignore[operator]
    return {"score_chosen": chosen, "score_rejected": rejected, "p_chosen_scored": p}


def _too_long(tokens: Sequence[Tokens], scorer: Scorer) -> str:
    return f"{max(map(len, tokens))} tokens, and the window is {scorer.model.encoding.window}"


def _conversations(record: Mapping[str, Any], place: str) -> tuple[Conversation, ...]:
    if "messages" in record:
        found: tuple[Conversation, ...] = (conversation_from(record["messages"], place),)
    elif all(name in record for name in PAIR):
        prompt = conversation_from(record["prompt"], place) if "prompt" in record else Conversation(())
        found = tuple(continued(prompt, record[name], place) for name in PAIR)
    elif "prompt" in record and "completion" in record:
        found = (continued(conversation_from(record["prompt"], place), record["completion"], place),)
    else:
        keys = ", ".join(map(repr, record)) or "nothing"
        raise InputError(f"the line holds no conversation (found {keys:.80})", place=place, remedy=_FORM)
    for conversation in found:
        if len(conversation.turns) < 2 or conversation.turns[-1].role is not Role.ASSISTANT:
            raise InputError("a conversation is scored by its last reply, and this one has none", place=place)
    return found
