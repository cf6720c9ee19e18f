"""Elo from votes: planted ratings, ties, anchors, modes apart, and what the votes do not support."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solon.comparisons.elo_ratings import EloSettings, elo_differences, elo_ratings, with_short_names
from solon.comparisons.vote_rows import Preferred, RatedVote
from solon.errors import InputError
from tests.comparisons.planted_votes import HARMLESS, planted, vote

PLANTED = (-90.0, -20.0, 30.0, 80.0)
A, B, TIE, UNDECIDED = Preferred.A, Preferred.B, Preferred.TIE, Preferred.UNDECIDED


@pytest.mark.slow
def test_planted_ratings_are_inside_the_intervals_in_at_least_90_of_100_simulations() -> None:
    inside = [0] * len(PLANTED)
    for seed in range(100):
        (found,) = elo_ratings(planted(PLANTED, 80, seed=seed), EloSettings(replicates=120, seed=seed))
        assert not found.warnings
        for rating in found.ratings:
            model = int(rating.model[1:])
            assert rating.low is not None and rating.high is not None
            inside[model] += rating.low <= PLANTED[model] <= rating.high
    assert min(inside) >= 90, inside


def test_ratings_are_near_what_is_planted_and_best_first() -> None:
    (found,) = elo_ratings(planted(PLANTED, 4000, seed=1), EloSettings(replicates=20))
    assert [rating.model for rating in found.ratings] == ["m3", "m2", "m1", "m0"]
    assert [rating.elo for rating in found.ratings] == pytest.approx(sorted(PLANTED, reverse=True), abs=12)
    assert (found.votes, found.conversations, found.ties) == (12_000, 4000, 0)


def test_the_anchor_has_its_rating_without_an_interval() -> None:
    votes = planted(PLANTED, 60, seed=2)
    plain, anchored = (
        {rating.model: rating for rating in elo_ratings(votes, settings)[0].ratings}
        for settings in (EloSettings(replicates=50), EloSettings("m1", 1000.0, replicates=50))
    )
    assert (anchored["m1"].elo, anchored["m1"].low, anchored["m1"].high) == (1000, 1000, 1000)
    assert anchored["m3"].elo - 1000 == pytest.approx(plain["m3"].elo - plain["m1"].elo)
    with pytest.raises(InputError, match="no vote is on the model 'm9'"):
        elo_ratings(votes, EloSettings("m9"))


def test_modes_are_apart_and_undecided_judgements_are_no_votes() -> None:
    helpful = [vote("x", "y", each) for each in (A, A, A, B, TIE, UNDECIDED)]
    harmless = [replace(each, mode=HARMLESS, model_a="y", model_b="x") for each in helpful]
    first, second = elo_ratings([*harmless, *helpful], EloSettings(replicates=30))
    assert (first.mode, first.votes, first.ties, first.undecided) == ("helpfulness", 5, 1, 1)
    assert [rating.model for rating in first.ratings] == ["x", "y"]
    assert [rating.model for rating in second.ratings] == ["y", "x"]
    (pair,) = first.pairs
    assert (pair.first, pair.second, pair.wins, pair.ties, pair.losses) == ("x", "y", 3, 1, 1)
    assert pair.win_rate.value == first.ratings[0].win_rate.value == pytest.approx(0.7)
    assert first.facts()["ratings"][0]["win_rate"]["n"] == 5


@pytest.mark.parametrize(
    ("votes", "elo"),
    [
        ([vote("x", "y", TIE)] * 8, 0),
        ([vote("x", "y", A)] * 6, 357),
        ([vote("x", "y", each, conversation="only one") for each in (A, A, B)], 60),
    ],
)
def test_where_all_resamplings_are_equal_there_is_no_interval_of_width_0(votes: list[RatedVote], elo: int) -> None:
    (found,) = elo_ratings(votes, EloSettings(replicates=20))
    assert [round(rating.elo) for rating in found.ratings] == [elo, -elo]
    assert {(rating.low, rating.high) for rating in found.ratings} == {(None, None)}
    assert any("no intervals for x, y" in line for line in found.warnings)
    assert elo_differences(votes, [("x", "y")], EloSettings(replicates=20)) == {}
    (anchored,) = elo_ratings(votes, EloSettings("y", 1000, replicates=20))
    assert [(rating.low, rating.high) for rating in anchored.ratings] == [(None, None), (1000, 1000)]


def test_what_the_votes_do_not_support_is_said() -> None:
    """x beat y, and nobody compared them with u and v: no finite rating, and two groups."""
    votes = [vote("x", "y", A)] * 6 + [vote("u", "v", A), vote("u", "v", B)]
    (found,) = elo_ratings(votes, EloSettings(replicates=30))
    assert {rating.group for rating in found.ratings} == {1, 2}
    assert any("no votes join them: u, v; x, y" in line for line in found.warnings)
    assert any("No finite rating of x, y" in line for line in found.warnings)
    joined = [*votes, vote("y", "u", A), vote("u", "x", A), vote("v", "y", TIE)]
    (found,) = elo_ratings(joined, EloSettings(replicates=30))
    assert len({rating.group for rating in found.ratings}) == 1
    assert not any("No finite rating" in line or "join" in line for line in found.warnings)


def test_without_a_decision_there_is_an_error() -> None:
    with pytest.raises(InputError, match="no vote with a decision"):
        elo_ratings([vote("x", "y", UNDECIDED)])


def test_one_model_by_two_names_is_said() -> None:
    here, there, third = "runs/x/model@0123456789ab", "/home/runs/x/model@0123456789ab", "sl@ba9876543210"
    votes = [vote(each, third, preferred) for each in (here, there) for preferred in (A, B)]
    (found,) = elo_ratings(votes, EloSettings(replicates=20))
    assert found.warnings[-1] == "/home/runs/x/model, runs/x/model are the same model, rated apart"
    assert not any("same model" in line for line in elo_ratings(votes[:2], EloSettings(replicates=20))[0].warnings)


def test_one_name_with_other_weights_stays_two_models() -> None:
    one, other, third = "rl@0123456789ab", "rl@ba9876543210", "sl@0123456789ab"
    names = {each for found in with_short_names([vote(one, third, A), vote(other, third, A)])
             for each in (found.model_a, found.model_b)}  # fmt: skip
    assert names == {one, other, "sl"}
