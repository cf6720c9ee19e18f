"""Log-probabilities of options from what servers give: the most probable next tokens, or those of the prompt itself.

The list of the most probable tokens is cut off. An option outside it gets the most that it can have: the probability of
the last token in the list, or what all of the list leave, if that is less. This makes a judge a little less sure than
it is, never more. Numbers that cannot be log-probabilities (NaN, above 0, together above 1) make all options of the
question unknown, and so undecided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from solon.engines.token_rows import common_length
from solon.http.retry_policy import malformed

_ABOVE = 1e-3
"""How far above 1 rounding may take a probability."""
_LEAST = 1e-6
"""What a full list may leave: rounding hides less."""
_SAME = 0.05
"""How far two log-probabilities of one token may differ, when servers compute in 16 bits."""
_SPACE = "\u2581"
"""The space in the pieces of SentencePiece."""


class TopRead(NamedTuple):
    """The log-probabilities of the options, and how many of these were in the list."""

    logprobs: tuple[float, ...]
    listed: int


class EchoedPrompt(NamedTuple):
    """The tokens of a prompt, and their log-probabilities; NaN where a server gives none."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]


def top_of(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The most probable first tokens of a completion; raises the failure of `malformed` where there are none."""
    logprobs = choice.get("logprobs")
    listed = logprobs.get("content") if isinstance(logprobs, dict) else None
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        entries = listed[0].get("top_logprobs")
        if isinstance(entries, list) and entries and all(isinstance(each, dict) for each in entries):
            return [(str(each.get("token")), _number(each.get("logprob"))) for each in entries]
    tops = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    if isinstance(tops, list) and tops and isinstance(tops[0], dict) and tops[0]:
        return [(str(token), _number(value)) for token, value in tops[0].items()]
    raise malformed("answers without the log-probabilities that were asked for")


def read_top(entries: Sequence[tuple[str, float]], options: Sequence[str], most: int, *, loose: bool) -> TopRead:
    """The options' log-probabilities in a list of tokens, which is cut off after the `most` most probable ones.

    A server may add the token that it drew, however improbable (vLLM): what is outside the list may be more probable.
    `loose` disregards white space around an option and a bracket before it, for chats, where a reply begins anew.
    """
    unknown = (math.nan,) * len(options)
    if not all(map(_possible, (value for _, value in entries))):
        return TopRead(unknown, 0)
    shares = [
        sum(math.exp(value) for token, value in entries if _plain(token, loose) == _plain(option, loose))
        for option in options
    ]
    named = [any(_plain(token, loose) == _plain(option, loose) for token, _ in entries) for option in options]
    total = sum(math.exp(value) for _, value in entries)
    if total > 1 + _ABOVE or not any(named):
        return TopRead(unknown, 0)
    last = sorted((value for _, value in entries), reverse=True)[:most][-1]
    rest = min(math.exp(last), max(1 - total, _LEAST))
    values = (share if found else rest for share, found in zip(shares, named, strict=True))
    return TopRead(tuple(math.log(value) if value > 0 else -math.inf for value in values), sum(named))


def echoed_in(choice: Mapping[str, Any], written: int | None) -> EchoedPrompt:
    """The tokens of an echoed prompt; raises the failure of `malformed` for none.

    `written` are the tokens of the completion behind it, 1 where it is unknown. The prompt's own number would not do: a
    server may count the token that opens every text, and not echo it (llama-cpp-python).
    """
    tokens, values = _echoed_tokens(choice)
    count = len(tokens) - (1 if written is None else written)
    if not 0 < count <= len(tokens):
        raise malformed(f"answers with {len(tokens)} tokens for a prompt and {written} more")
    return EchoedPrompt(tuple(map(str, tokens[:count])), tuple(map(_number, values[:count])))


def echoes_truly(choice: Mapping[str, Any], top: Sequence[tuple[str, float]]) -> bool:
    """Whether an echoed prompt with its most probable next token gives this token the value that it has in `top`.

    Some servers give each token the log-probability that it would have one place later, and leave the last one out
    (llama-cpp-python 0.3, for models whose texts begin without an opening token).
    """
    tokens, values = _echoed_tokens(choice)
    if len(tokens) < 2 or not str(tokens[-1]):
        return False
    whole = str(choice.get("text")).endswith("".join(map(str, tokens[-2:])).replace(_SPACE, " "))
    known = [value for token, value in top if token == str(tokens[-1])]
    return whole and any(abs(value - _number(values[-1])) < _SAME for value in known)


def _echoed_tokens(choice: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("tokens") if isinstance(logprobs, dict) else None
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        raise malformed("answers without the log-probabilities of the prompt")
    return tokens, values


def read_echoes(bare: EchoedPrompt, continued: Sequence[EchoedPrompt]) -> tuple[int, tuple[float, ...]]:
    """From which token on the options differ from the bare prompt, and their log-probabilities from there."""
    start = min(common_length(bare.tokens, each.tokens) for each in continued)
    sums = tuple(
        sum(each.logprobs[start:]) if all(map(_possible, each.logprobs[start:])) else math.nan for each in continued
    )
    possible = sum(math.exp(each) for each in sums if not math.isnan(each)) <= 1 + _ABOVE
    return start, sums if possible and len({each.tokens for each in continued}) == len(continued) else (
        math.nan,
    ) * len(sums)


def _plain(token: str, loose: bool) -> str:
    text = token.replace(_SPACE, " ")
    return text.strip().lstrip("(") if loose else text


def _number(value: object) -> float:
    """The number of an answer; NaN for what is none, and for a whole number that no float can hold."""
    try:
        return float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type]
    except OverflowError:
        return math.nan


def _possible(value: float) -> bool:
    return not math.isnan(value) and value <= _ABOVE
