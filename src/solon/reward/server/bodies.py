"""Reads the texts or conversations of a request's body, and refuses too large ones before tokenizing.

Counting characters is much cheaper than tokenizing, and a text with many times more characters than the model's window
has tokens cannot be scored anyway. A request is refused as a whole: 400 for a malformed one, 413 for one that is too
large, 422 for text that cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from solon.config.json_lines import json_line
from solon.conversation import Conversation, Role, conversation_of
from solon.errors import InputError
from solon.reward.server.admission import Refused

TURN = 32
"""Characters added per turn: its label costs tokens too."""
_PER_TOKEN, _LONGEST = 32, 1 << 20
_BRACKETS = 500_000
"""Most opening brackets in a body, also in texts: millions of empty lists would block the parser for a second."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one request: texts, characters of each, and characters in total."""

    texts: int
    text: int
    characters: int


def longest_text(window: int) -> int:
    """The most characters of a text for a model that reads `window` tokens: many more than it could score."""
    return min(window * _PER_TOKEN, _LONGEST)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; raises Refused for anything else, for duplicate keys and for NaN."""
    if (brackets := body.count(b"[") + body.count(b"{")) > _BRACKETS:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{brackets} opening brackets in one request. At most {_BRACKETS} are taken; send several requests",
        )
    try:
        found = json_line(body, "").value
    except InputError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"broken JSON: {error.cause.removeprefix('broken JSON: ')}") from None
    if not isinstance(found, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body must be one JSON object")
    return found


def texts_in(body: Mapping[str, Any], bounds: Bounds) -> list[str]:
    """The texts of an OpenRLHF request; `prompts` and `labels` are parts of them or unused. Raises Refused."""
    texts = body.get("query")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(HTTPStatus.BAD_REQUEST, "'query' must be a list of texts, each a prompt with its reply")
    _refuse_too_much([len(text) for text in texts], bounds)
    for number, text in enumerate(texts):
        _refuse_halves(text, f"text {number}")
    return texts


def conversations_in(body: Mapping[str, Any], bounds: Bounds) -> list[Conversation]:
    """The conversations of a request, each ending on a reply; raises Refused or InputError."""
    given = body.get("messages")
    if not isinstance(given, list) or not all(_is_messages(each) for each in given):
        raise Refused(HTTPStatus.BAD_REQUEST, "'messages' must be a list of conversations, each a list of messages")
    _refuse_too_much([sum(TURN + _characters(message) for message in each) for each in given], bounds)
    found = [conversation_of(each, place=f"conversation {number}") for number, each in enumerate(given)]
    for number, each in enumerate(found):
        if len(each.turns) < 2 or each.turns[-1].role is not Role.ASSISTANT:
            raise Refused(HTTPStatus.BAD_REQUEST, f"conversation {number} is not a prompt with a reply")
        for turn in each.turns:
            _refuse_halves(turn.content, f"conversation {number}")
    return found


def weight(item: str | Conversation) -> int:
    """The characters of a text or of a conversation."""
    return len(item) if isinstance(item, str) else sum(TURN + len(turn.content) for turn in item.turns)


def _is_messages(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)


def _characters(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    return len(content) if isinstance(content, str) else 0


def _refuse_too_much(sizes: Sequence[int], bounds: Bounds) -> None:
    if len(sizes) > bounds.texts:
        why = f"{len(sizes)} texts in one request. At most {bounds.texts} are taken"
    elif (longest := max(sizes, default=0)) > bounds.text:
        why = f"text {sizes.index(longest)} has {longest} characters. At most {bounds.text} are taken"
    elif sum(sizes) > bounds.characters:
        why = f"{sum(sizes)} characters in one request. At most {bounds.characters} are taken; send several requests"
    else:
        return
    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)


def _refuse_halves(text: str, place: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        cause = f"half of a character (a lone surrogate) at character {error.start}"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{place}: {cause}. Send whole characters") from None
