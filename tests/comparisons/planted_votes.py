"""Votes drawn from planted strengths."""

from __future__ import annotations

import math
from collections.abc import Sequence

from solon.comparisons.vote_rows import Preferred, RatedVote, VoteMode
from solon.digest import uniform_for

HELPFUL, HARMLESS = VoteMode.HELPFULNESS, VoteMode.HARMLESSNESS


def planted(
    elo: Sequence[float], conversations: int, turns: int = 3, seed: int = 0, ties: float = 0.0
) -> list[RatedVote]:
    """Votes on models `m0`, `m1`, ... of these ratings; in a share `ties` of the turns nobody decides."""
    votes = []
    for conversation in range(conversations):
        for turn in range(turns):
            key = (seed, conversation, turn)
            a = int(uniform_for(*key, "a") * len(elo))
            b = (a + 1 + int(uniform_for(*key, "b") * (len(elo) - 1))) % len(elo)
            wins = uniform_for(*key, "wins") < 1 / (1 + math.pow(10, (elo[b] - elo[a]) / 400))
            preferred = Preferred.A if wins else Preferred.B
            if uniform_for(*key, "tie") < ties:
                preferred = Preferred.TIE
            votes.append(vote(f"m{a}", f"m{b}", preferred, conversation=f"c{conversation}"))
    return votes


def vote(a: str, b: str, preferred: Preferred, mode: VoteMode = HELPFUL, conversation: str = "") -> RatedVote:
    return RatedVote(conversation=conversation, mode=mode, model_a=a, model_b=b, preferred=preferred)
