"""Signs that a policy pleases its reward model rather than its reader.

Over-trained policies write similar, long replies (paper, section 4.3: boilerplate such as "you are valid, valued, and
cared for"). The signs are counted on every rollout: how many replies open with the same words, how varied their
trigrams are, and whether the score follows the length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from solon.stats.variety import distinct_n

OPENING = 5
"""Words of a reply that count as its opening."""
_GRAM = 3


def common_opening(texts: Sequence[str], words: int = OPENING) -> float:
    """The share of replies that begin with the words, in any case, of the most common opening.

    A reply shorter than that is its own opening. 0 when there are no replies.
    """
    openings = Counter(tuple(text.lower().split()[:words]) for text in texts)
    return max(openings.values(), default=0) / max(1, len(texts))


def distinct_trigrams(texts: Sequence[str]) -> float:
    """Different trigrams of words over all trigrams of the replies together; 1 when there are none.

    Over more replies it is smaller, so it compares steps of equal size (Li et al. 2016, distinct-n).
    """
    found = distinct_n([text.lower().split() for text in texts], _GRAM)
    return 1.0 if found is None else found


def correlation(one_B: Tensor, other_B: Tensor) -> float | None:
    """Pearson's correlation; None when either does not vary."""
    pair_2B = torch.stack([one_B.double(), other_B.double()])
    pair_2B = pair_2B - pair_2B.mean(1, keepdim=True)
    norms_2 = pair_2B.norm(dim=1)
    if bool((norms_2 < 1e-9).any()):
        return None
    return float((pair_2B[0] * pair_2B[1]).sum() / norms_2.prod())


def monitored(texts: Sequence[str], length_B: Tensor, score_B: Tensor) -> dict[str, float | None]:
    """The signs of one rollout, by the names of their columns."""
    return {
        "common_opening": common_opening(texts),
        "distinct_trigrams": distinct_trigrams(texts),
        "score_by_length": correlation(score_B.cpu(), length_B.cpu()),
    }
