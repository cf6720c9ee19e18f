r"""Strengths of models from comparisons of two, by the model of Bradley and Terry (1952), and their Elo scale.

P(i beats j) = sigmoid(s_i - s_j). The strengths are those of maximum likelihood: `scipy.optimize` minimises the mean
negative log-likelihood, which is convex, by a trust-region Newton method. A tie is half a win for each side. Only
differences matter, so the strengths of a group have the mean 0.

A finite maximum exists only if the graph of wins is strongly connected (Ford 1957): from every model a chain of wins
leads to every other. Where it is not, `PRIOR` wins each way are added to every pair that was compared, so that the
strengths are finite; the caller says so. Models that no chain of comparisons joins are in different groups, and nothing
is known about their order.

Intervals come from resampling whole conversations with replacement, because the votes in one conversation depend on
each other. Elo differences are 400 / ln 10 times log-odds: 100 points are won in 64 % of comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Wins: TypeAlias = NDArray[np.float64]
    """The wins of each model (row) over each other one (column), ties half; N x N."""
    Strengths: TypeAlias = NDArray[np.float64]
    """Log-odds by model; N."""

ELO_PER_LOG_ODD = 400 / math.log(10)
PRIOR = 0.1
"""Wins each way that are added to a compared pair where there is no finite maximum."""
_TOLERANCE = 1e-10
"""The largest gradient of the mean negative log-likelihood at the maximum."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What one conversation adds: wins by pair of models (the winner first), where a tie is half a win for each."""

    wins: Mapping[tuple[int, int], float]


def wins_of(conversations: Sequence[Outcomes], models: int) -> Wins:
    """The wins in all conversations together."""
    import numpy as np

    total = np.zeros((models, models))
    for each in conversations:
        for (winner, loser), count in each.wins.items():
            total[winner, loser] += count
    return total


def groups_of(wins: Wins) -> list[list[int]]:
    """The models that chains of comparisons join, each group in order, the first model's group first."""
    _, labels = _components(wins, "weak")
    return [[model for model, found in enumerate(labels) if found == label] for label in dict.fromkeys(labels)]


def has_maximum(wins: Wins) -> bool:
    """Whether finite strengths of maximum likelihood exist: the graph of wins is strongly connected."""
    return _components(wins, "strong")[0] == 1


def strengths_of(wins: Wins, start: Strengths | None = None) -> Strengths:
    """The strengths of maximum likelihood of one group of models, with mean 0; `start` is where the search begins.

    Raises ValueError where there is no finite maximum.
    """
    import numpy as np
    from scipy.optimize import minimize

    models = len(wins)
    if models == 1:
        return np.zeros(1)
    if not has_maximum(wins):
        raise ValueError("no finite maximum: the graph of wins is not strongly connected")
    share = wins / wins.sum()
    compared = share + share.T

    def loss(strengths: Strengths) -> float:
        # The last term keeps the mean at 0 and moves no difference.
        losing = np.logaddexp(0.0, strengths[None, :] - strengths[:, None])
        return float((share * losing).sum() + strengths.mean() ** 2 / 2)

    def probabilities(strengths: Strengths) -> Wins:
        difference = strengths[:, None] - strengths[None, :]
        return np.asarray(0.5 * (1.0 + np.tanh(difference / 2)))

    def gradient(strengths: Strengths) -> Strengths:
        return np.asarray((compared * probabilities(strengths) - share).sum(axis=1) + strengths.mean() / models)

    def curvature(strengths: Strengths) -> Wins:
        found = probabilities(strengths)
        weights = compared * found * found.T
        return np.asarray(np.diag(weights.sum(axis=1)) - weights + 1 / models**2)

    begin = np.zeros(models) if start is None else start
    found = minimize(
        loss, begin, jac=gradient, hess=curvature, method="trust-exact", options={"gtol": _TOLERANCE, "maxiter": 500}
    )
    return np.asarray(found.x - found.x.mean())


def with_prior(wins: Wins, compared: Wins) -> Wins:
    """The wins with `PRIOR` more each way for every pair that has any in `compared`."""
    return wins + PRIOR * ((compared + compared.T) > 0)


def resampled_strengths(
    conversations: Sequence[Outcomes], models: int, replicates: int, seed: int
) -> tuple[NDArray[np.float64], int]:
    """Strengths of one group in each of `replicates` resamplings of whole conversations: B x N.

    Also returns in how many of them there was no finite maximum, so that `PRIOR` wins were added.
    """
    import numpy as np

    each = np.stack([wins_of([one], models) for one in conversations]).reshape(len(conversations), -1)
    whole = each.sum(axis=0).reshape(models, models)
    start = strengths_of(whole if has_maximum(whole) else with_prior(whole, whole))
    draws = np.random.default_rng(seed)
    even = np.full(len(conversations), 1 / len(conversations))
    weights = draws.multinomial(len(conversations), even, size=replicates)
    found, unbounded = [], 0
    for totals in weights @ each:
        wins = totals.reshape(models, models)
        if not has_maximum(wins):
            wins, unbounded = with_prior(wins, whole), unbounded + 1
        found.append(strengths_of(wins, start))
    return np.stack(found), unbounded


def _components(wins: Wins, connection: str) -> tuple[int, list[int]]:
    # Imported here, because importing scipy would slow down the command line's help.
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(wins > 0, directed=True, connection=connection)
    return int(count), [int(label) for label in labels]
