"""What is drawn in a comparison: the two models of a turn and their order, seeds of replies, prompts, ties.

Each draw depends only on the seed of the comparison, the conversation and the number of the turn, so it can be checked
afterwards. At each turn two different models are drawn anew (paper, section 3.3), each pair and each order equally
often.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from solon.comparisons.vote_rows import Preferred
from solon.digest import digest, seed_for


def drawn_pair(models: Sequence[str], seed: int, conversation: str, number: int) -> tuple[str, str]:
    """Two of at least two models; the first one's reply is shown as A."""
    pairs = list(combinations(sorted(models), 2))
    first, second = pairs[seed_for(seed, "compared models", conversation, number) % len(pairs)]
    turned = seed_for(seed, "order of replies", conversation, number) % 2
    return (second, first) if turned else (first, second)


def reply_seed(model: str, seed: int, conversation: str, number: int) -> int:
    """The seed from which a model's reply is drawn."""
    return seed_for(seed, "compared reply", conversation, number, model)


def drawn_place(count: int, seed: int, conversation: str, number: int, attempt: int) -> int:
    """Which of `count` prompts is suggested for a turn; a person may ask for another one, with the next attempt."""
    return seed_for(seed, "suggested prompt", conversation, number, attempt) % count


def drawn_reply(seed: int, conversation: str, number: int) -> Preferred:
    """The reply with which a conversation continues after a tie."""
    return Preferred.B if seed_for(seed, "reply after a tie", conversation, number) % 2 else Preferred.A


def drawn_order(ids: Sequence[str], seed: int, *what: object) -> list[int]:
    """The places of `ids` in a drawn order, which adding others does not change."""
    return sorted(range(len(ids)), key=lambda place: digest(seed, "order of prompts", *what, ids[place]))
