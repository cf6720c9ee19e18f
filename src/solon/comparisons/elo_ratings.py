"""Elo ratings from votes: helpfulness and harmlessness apart, with bootstrap intervals by conversation.

A rating is the strength of Bradley and Terry by maximum likelihood on the Elo scale (`solon.stats.bradley_terry`). A
snapshot of a policy is a model like any other. Ratings have the mean 0, or are differences to an anchor. What the votes
do not support is said in `warnings`: groups that nobody compared with each other, and models without a finite rating.
An undecided judgement is counted and is no vote.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from solon.comparisons.vote_rows import IDENTITY_DIGITS, Preferred, RatedVote, VoteMode
from solon.config.located_yaml import suggestion
from solon.digest import seed_for
from solon.errors import InputError
from solon.stats.bradley_terry import (
    ELO_PER_LOG_ODD,
    PRIOR,
    Outcomes,
    groups_of,
    has_maximum,
    resampled_strengths,
    strengths_of,
    wins_of,
    with_prior,
)
from solon.stats.intervals import Share, wilson

if TYPE_CHECKING:
    from solon.stats.bradley_terry import Strengths

_KEY = re.compile(rf"(?P<name>.+)@(?P<digits>[0-9a-f]{{{IDENTITY_DIGITS}}})")
_SCORES: Mapping[Preferred, float] = {Preferred.A: 1.0, Preferred.B: 0.0, Preferred.TIE: 0.5}
"""The wins of reply A."""
_SAME = 1e-6
"""Log-odds by which equal strengths may differ."""


@dataclass(frozen=True, slots=True)
class EloSettings:
    """How ratings are computed."""

    anchor: str | None = None
    """The model whose rating is `anchor_at`, without an interval; the mean of all ratings is 0 when None."""
    anchor_at: float = 0.0
    replicates: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ModelRating:
    """A model's rating with its 95 % interval, and its share of wins over all its comparisons (ties half)."""

    model: str
    elo: float
    low: float | None
    """None where the resamplings do not differ: the votes then say nothing of an interval."""
    high: float | None
    win_rate: Share
    group: int
    """Ratings of different groups do not compare; from 1."""


@dataclass(frozen=True, slots=True)
class EloDifference:
    """The difference of two ratings with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairResult:
    """What the votes on two models say: `first` won, tied with and lost to `second`."""

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    win_rate: Share
    """Of `first`, ties half; the interval takes votes as independent."""


@dataclass(frozen=True, slots=True)
class ModeRatings:
    """All that the votes of one mode say."""

    mode: VoteMode
    votes: int
    ties: int
    undecided: int
    conversations: int
    judged_by: Mapping[str, int]
    """By the kind of judge."""
    judges: Mapping[str, int]
    """By name; people together are `person`."""
    ratings: tuple[ModelRating, ...]
    """Best first, within each group."""
    pairs: tuple[PairResult, ...]
    warnings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Every number, for JSON."""
        return asdict(self)


def elo_ratings(votes: Sequence[RatedVote], settings: EloSettings | None = None) -> list[ModeRatings]:
    """The ratings of each mode that has votes; raises InputError when no vote decides, or the anchor is in no vote."""
    settings = settings or EloSettings()
    named = list(with_short_names(votes))
    if not any(vote.preferred in _SCORES for vote in named):
        raise InputError("no vote with a decision", remedy="Cast votes with: solon compare MODEL_A MODEL_B")
    known = sorted({name for vote in named for name in (vote.model_a, vote.model_b)})
    if settings.anchor is not None and settings.anchor not in known:
        cause = f"no vote is on the model '{settings.anchor}'"
        raise InputError(cause, place="--anchor", remedy=suggestion(settings.anchor, known))
    found = ([vote for vote in named if vote.mode is mode] for mode in VoteMode)
    rated = [_rated(votes, settings) for votes in found if any(vote.preferred in _SCORES for vote in votes)]
    return [replace(each, warnings=(*each.warnings, *_same_weights(votes, each.mode))) for each in rated]


def elo_differences(
    votes: Sequence[RatedVote], pairs: Iterable[tuple[str, str]], settings: EloSettings | None = None
) -> dict[tuple[VoteMode, str, str], EloDifference]:
    """The rating of the first of two models minus that of the second, by mode, with the interval of the difference.

    All differences of a mode come from the same resamplings. A pair that no chain of comparisons joins is left out,
    and so is one in a group whose resamplings do not differ.
    """
    import numpy as np

    settings, wanted = settings or EloSettings(), list(pairs)
    named = [vote for vote in with_short_names(votes) if vote.preferred in _SCORES]
    found: dict[tuple[VoteMode, str, str], EloDifference] = {}
    for mode in VoteMode:
        own = [vote for vote in named if vote.mode is mode]
        models = sorted({name for vote in own for name in (vote.model_a, vote.model_b)})
        for group in groups_of(wins_of(_by_conversation(own, models), len(models))) if models else ():
            joined = [models[each] for each in group]
            point, drawn, _ = _resampled(own, joined, settings)
            if not _differ(drawn):
                continue
            for first, second in wanted:
                if first in joined and second in joined:
                    a, b = joined.index(first), joined.index(second)
                    low, high = np.percentile((drawn[:, a] - drawn[:, b]) * ELO_PER_LOG_ODD, [2.5, 97.5])
                    value = float(point[a] - point[b]) * ELO_PER_LOG_ODD
                    found[mode, first, second] = EloDifference(value, float(low), float(high))
    return found


def votes_by(votes: Sequence[RatedVote], judged_by: str | None = None, judge: str | None = None) -> list[RatedVote]:
    """The votes by a kind of judge, and by a judge of this name, as far as they are given; `person` names all people.

    Raises InputError, with a count of who cast the votes, when none is left.
    """
    kept = [vote for vote in votes if judged_by in (None, vote.judged_by) and judge in (None, vote.judge, vote.voter)]
    if not kept:
        counts = Counter(
            str(vote.judged_by) if vote.voter == vote.judged_by else f"{vote.judged_by} {vote.voter}" for vote in votes
        )
        whose = " ".join(filter(None, (judged_by, f"'{judge}'" if judge is not None else "")))
        raise InputError(
            f"no vote is by {whose}: {', '.join(f'{count:,} by {who}' for who, count in sorted(counts.items()))}",
            place="--judge" if judge is not None else "--judged-by",
            remedy="Name one who voted, or leave the option out",
        )
    return kept


def with_short_names(votes: Iterable[RatedVote]) -> list[RatedVote]:
    """The votes with the models' names in place of their keys, where one name means one model in all of them."""
    votes = list(votes)
    keys = {key for vote in votes for key in (vote.model_a, vote.model_b)}
    names = {key: match["name"] if (match := _KEY.fullmatch(key)) else key for key in keys}
    counts = Counter(names.values())
    short = {key: name if counts[name] == 1 else key for key, name in names.items()}
    return [replace(vote, model_a=short[vote.model_a], model_b=short[vote.model_b]) for vote in votes]


def _same_weights(votes: Iterable[RatedVote], mode: VoteMode) -> list[str]:
    """Which names of a mode's models stand for the same weights, as when files of several comparisons are merged."""
    keys = {key for vote in votes if vote.mode is mode for key in (vote.model_a, vote.model_b)}
    names: dict[str, list[str]] = {}
    for match in filter(None, map(_KEY.fullmatch, sorted(keys))):
        names.setdefault(match["digits"], []).append(match["name"])
    return [f"{', '.join(same)} are the same model, rated apart" for same in names.values() if len(same) > 1]


def _rated(votes: Sequence[RatedVote], settings: EloSettings) -> ModeRatings:
    decided = [vote for vote in votes if vote.preferred in _SCORES]
    models = sorted({name for vote in decided for name in (vote.model_a, vote.model_b)})
    conversations = _by_conversation(decided, models)
    wins = wins_of(conversations, len(models))
    groups = groups_of(wins)
    warnings: list[str] = []
    if len(groups) > 1:
        listed = "; ".join(", ".join(models[each] for each in group) for group in groups)
        warnings.append(f"Ratings of different groups do not compare, because no votes join them: {listed}")
    if settings.anchor is not None and settings.anchor not in models:
        warnings.append(f"No vote of this mode is on the anchor {settings.anchor}: the mean is 0 instead")
    judges = dict(sorted(Counter(vote.voter for vote in decided).items()))
    if len(judges) > 1:
        warnings.append(
            f"Votes of {', '.join(judges)} are rated together, and judges may choose by different things: rate those "
            "of one with --judge NAME"
        )
    ratings: list[ModelRating] = []
    for number, group in enumerate(groups, start=1):
        found = _group_ratings(number, [models[each] for each in group], decided, settings, warnings)
        ratings += sorted(found, key=lambda rating: -rating.elo)
    return ModeRatings(
        mode=votes[0].mode,
        votes=len(decided),
        ties=sum(vote.preferred is Preferred.TIE for vote in decided),
        undecided=len(votes) - len(decided),
        conversations=len(conversations),
        judged_by=dict(sorted(Counter(str(vote.judged_by) for vote in decided).items())),
        judges=judges,
        ratings=tuple(ratings),
        pairs=tuple(_pairs(decided, [rating.model for rating in ratings])),
        warnings=tuple(warnings),
    )


def _by_conversation(votes: Sequence[RatedVote], models: Sequence[str]) -> list[Outcomes]:
    """The wins in each conversation among `models`; votes without a conversation have one of their own."""
    places = {model: place for place, model in enumerate(models)}
    found: dict[tuple[str, int], dict[tuple[int, int], float]] = {}
    for number, vote in enumerate(votes):
        if vote.model_a not in places or vote.model_b not in places:
            continue
        wins = found.setdefault((vote.conversation, 0 if vote.conversation else number), {})
        a, b = places[vote.model_a], places[vote.model_b]
        score = _SCORES[vote.preferred]
        for pair, count in (((a, b), score), ((b, a), 1 - score)):
            wins[pair] = wins.get(pair, 0.0) + count
    return [Outcomes(wins) for wins in found.values()]


def _group_ratings(
    number: int, models: Sequence[str], votes: Sequence[RatedVote], settings: EloSettings, warnings: list[str]
) -> list[ModelRating]:
    """The ratings of models that votes join, and what has to be said about them in `warnings`."""
    import numpy as np

    conversations = _by_conversation(votes, models)
    wins = wins_of(conversations, len(models))
    bounded = has_maximum(wins)
    if not bounded:
        warnings.append(
            f"No finite rating of {', '.join(models)} fits the votes best, because one side of them won every "
            f"comparison with the other: {PRIOR} wins each way are added to every compared pair, and the size of a "
            "difference says little"
        )
    point, drawn, unbounded = _resampled(votes, models, settings)
    differ = _differ(drawn)
    if not differ:
        warnings.append(
            f"There are no intervals for {', '.join(models)}, because all resamplings of the conversations give the "
            "same ratings: cast votes in more conversations"
        )
    elif bounded and unbounded:
        warnings.append(f"{unbounded} of {settings.replicates} resamplings had no finite ratings: intervals are rough")
    point, drawn = _shifted(point, models, settings), _shifted(drawn, models, settings)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    decided = wins + wins.T
    return [
        ModelRating(
            model=model,
            elo=float(point[place]),
            low=float(low[place]) if differ or model == settings.anchor else None,
            high=float(high[place]) if differ or model == settings.anchor else None,
            win_rate=wilson(float(wins[place].sum()), round(float(decided[place].sum()))),
            group=number,
        )
        for place, model in enumerate(models)
    ]


def _resampled(
    votes: Sequence[RatedVote], models: Sequence[str], settings: EloSettings
) -> tuple[Strengths, Strengths, int]:
    """The strengths of joined models, those of each resampling (B x N), and in how many there was no finite maximum."""
    conversations = _by_conversation(votes, models)
    wins = wins_of(conversations, len(models))
    point = strengths_of(wins if has_maximum(wins) else with_prior(wins, wins))
    seed = seed_for(settings.seed, "bootstrap of ratings", *models)
    drawn, unbounded = resampled_strengths(conversations, len(models), settings.replicates, seed)
    return point, drawn, unbounded


def _differ(drawn: Strengths) -> bool:
    """Whether the strengths of the resamplings (B x N) differ, but for rounding errors of the search."""
    import numpy as np

    return float(np.ptp(drawn, axis=0).max()) > _SAME


def _shifted(strengths: Strengths, models: Sequence[str], settings: EloSettings) -> Strengths:
    """Strengths (the last axis is the model) as Elo ratings, with the anchor, or else the mean, where it belongs."""
    elo = strengths * ELO_PER_LOG_ODD
    if settings.anchor not in models:
        return elo
    place = models.index(settings.anchor)
    return elo - elo[..., place : place + 1] + settings.anchor_at


def _pairs(votes: Sequence[RatedVote], order: Sequence[str]) -> Iterable[PairResult]:
    """Every compared pair, the higher rated model first."""
    places = {model: place for place, model in enumerate(order)}
    found: dict[tuple[int, int], Counter[float]] = {}
    for vote in votes:
        a, b = places[vote.model_a], places[vote.model_b]
        score = _SCORES[vote.preferred]
        found.setdefault((min(a, b), max(a, b)), Counter())[score if a < b else 1 - score] += 1
    for (first, second), scores in sorted(found.items()):
        wins, ties, losses = (scores[each] for each in (1.0, 0.5, 0.0))
        count = wins + ties + losses
        yield PairResult(order[first], order[second], wins, ties, losses, wilson(wins + ties / 2, count))
