"""How several answers to one question become one label: pure arithmetic on log-odds and probabilities.

What is averaged how depends on what makes the answers differ. A liking for a letter adds to the log-odds of one order
and takes from those of the other, so the two orders are averaged in log-odds, where it cancels. Samples of reasoning
are draws of one judge, and the mean of their *probabilities* estimates the chance that this judge gives a letter,
whatever it happens to think on the way (paper, section 4.1: five samples help a little). Judges, and the axes of a
constitution by their weights, are averaged in probabilities too: that is the label to be expected if one of them were
drawn for the pair, and none can outvote the others by being extremely sure. Clamping comes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from solon.stats.log_odds import log_sigmoid, log_sum_exp

PRIOR_VOTES = 0.5
"""Votes that each letter has before any is counted."""


def log_odds_of_mean(log_odds: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The log-odds of the weighted mean of the probabilities with these log-odds; a single one comes back as it is.

    Computed on logarithms, so that probabilities that would round to 0 or 1 keep their finite log-odds. Raises
    ValueError for no numbers at all.
    """
    if not log_odds:
        raise ValueError("there is no mean of nothing")
    if len(log_odds) == 1:
        return log_odds[0]
    scale = [math.log(weight) for weight in weights] if weights is not None else [0.0] * len(log_odds)
    yes = log_sum_exp([own + log_sigmoid(x) for own, x in zip(scale, log_odds, strict=True)])
    no = log_sum_exp([own + log_sigmoid(-x) for own, x in zip(scale, log_odds, strict=True)])
    return yes - no


def votes_log_odds(for_it: int, votes: int) -> float:
    """The log-odds behind `for_it` of `votes` votes: (k + 1/2) / (n + 1), the estimate of Krichevsky and Trofimov.

    The share itself would make unanimous votes certain, with infinite log-odds that no other order or judge could
    balance. Half a vote for each letter beforehand (Jeffreys' prior) is the estimate whose log-loss on the next vote is
    within a constant of the best for every true share, also near 0 and 1, and it treats the two letters alike. Raises
    ValueError when nobody voted.
    """
    if not 0 <= for_it <= votes or votes == 0:
        raise ValueError(f"{for_it} of {votes} votes give no estimate")
    return math.log(for_it + PRIOR_VOTES) - math.log(votes - for_it + PRIOR_VOTES)


def mean_probability(probabilities: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean; a single probability comes back as it is."""
    if len(probabilities) == 1:
        return probabilities[0]
    return math.fsum(p * w for p, w in zip(probabilities, weights, strict=True)) / math.fsum(weights)


def clamped(probability: float, bounds: tuple[float, float] | None) -> float:
    """The nearest probability within `bounds`; as it is without bounds."""
    return probability if bounds is None else min(max(probability, bounds[0]), bounds[1])
