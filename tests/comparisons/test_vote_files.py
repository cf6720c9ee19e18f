"""Votes from files: what stands there twice, whose ids hold where, and what contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solon.comparisons.elo_ratings import EloSettings, elo_ratings, votes_by
from solon.comparisons.vote_files import counted_votes, read_votes
from solon.comparisons.vote_rows import JudgedBy, Preferred
from solon.errors import InputError

OWN = "0123456789abcdef"
"""An id as conversations of Solon have it."""


def votes_in(path: Path, *lines: dict[str, object]) -> Path:
    """A file of votes on models x and y; a line says what differs."""
    vote = {"mode": "helpfulness", "model_a": "x", "model_b": "y", "preferred": "a"}
    path.write_text("".join(f"{json.dumps(vote | line)}\n" for line in lines))
    return path


def test_equal_votes_on_one_turn_count_once_whichever_reply_stood_first(tmp_path: Path) -> None:
    turn = {"conversation": "c1", "number": 1}
    turned = {"model_a": "y", "model_b": "x", "preferred": "b"}
    found = counted_votes([votes_in(tmp_path / "v.jsonl", turn, turn, turn | turned, turn | {"number": 2})])
    assert (len(found.votes), found.repeated) == (2, 2)
    (rated,) = elo_ratings(found.votes, EloSettings(replicates=20))
    assert (rated.votes, rated.pairs[0].wins, rated.conversations) == (2, 2, 1)


def test_a_repeated_comparison_counts_once_and_other_judges_and_models_count_too(tmp_path: Path) -> None:
    turn = {"conversation": OWN, "number": 1, "cast_at": "2030-01-01", "judged_by": "model", "judge": "z"}
    one = votes_in(tmp_path / "one.jsonl", turn)
    other = votes_in(
        tmp_path / "other.jsonl",
        turn | {"cast_at": "2030-02-02"},
        turn | {"judge": "w", "preferred": "b"},
        turn | {"model_b": "v", "preferred": "b"},
        turn | {"mode": "harmlessness", "preferred": "tie"},
    )
    found = counted_votes([one, other])
    assert (len(found.votes), found.repeated) == (4, 1)
    assert {vote.conversation for vote in found.votes} == {OWN}


@pytest.mark.parametrize("preferred", ["b", "tie"])
def test_two_different_votes_on_one_turn_are_an_error(tmp_path: Path, preferred: str) -> None:
    turn = {"conversation": "c1", "number": 1}
    file = votes_in(tmp_path / "v.jsonl", turn, turn | {"preferred": preferred})
    with pytest.raises(InputError, match="turn 1 of the conversation 'c1' has another vote by the same judge") as error:
        read_votes([file])
    assert error.value.place == f"{file}:2" and f"({file}:1)" in error.value.cause
    assert 'in a column "judge"' in error.value.remedy
    people = votes_in(tmp_path / "w.jsonl", turn | {"judge": "Ann"}, turn | {"judge": "Bo", "preferred": preferred})
    assert len(read_votes([people])) == 2


def test_ids_of_other_programs_count_within_their_file_and_those_of_solon_everywhere(tmp_path: Path) -> None:
    """Unrelated conversations are resampled apart: merged, the same votes have intervals of another width."""
    files = [
        votes_in(
            tmp_path / f"{name}.jsonl",
            *({"conversation": str(c), "number": 1, "preferred": p} for c, p in enumerate(preferred)),
        )
        for name, preferred in (("one", "aaaab"), ("two", "abbba"))
    ]
    (rated,) = elo_ratings(counted_votes(files).votes, EloSettings(replicates=20))
    assert (rated.votes, rated.conversations) == (10, 10)
    own = [votes_in(tmp_path / f"own-{name}.jsonl", {"conversation": OWN, "number": name}) for name in (1, 2)]
    (rated,) = elo_ratings(counted_votes(own).votes, EloSettings(replicates=20))
    assert (rated.votes, rated.conversations) == (2, 1)


def test_votes_of_several_judges_are_named_and_can_be_rated_apart(tmp_path: Path) -> None:
    file = votes_in(
        tmp_path / "v.jsonl",
        {"judge": "Ann"},
        {"judge": "Bo", "preferred": "b"},
        {"judged_by": "model", "judge": "z@12"},
        {"judged_by": "oracle", "judge": "oracle"},
    )
    votes = read_votes([file])
    (rated,) = elo_ratings(votes, EloSettings(replicates=20))
    assert rated.judges == {"oracle": 1, "person": 2, "z@12": 1}
    assert rated.judged_by == {"model": 1, "oracle": 1, "person": 2}
    assert any(line.startswith("Votes of oracle, person, z@12 are rated together") for line in rated.warnings)
    (people,) = elo_ratings(votes_by(votes, judge="person"), EloSettings(replicates=20))
    assert people.judges == {"person": 2} and not any("rated together" in line for line in people.warnings)
    assert [vote.preferred for vote in votes_by(votes, judge="Bo")] == [Preferred.B]
    assert [vote.judge for vote in votes_by(votes, "model", "z@12")] == ["z@12"]
    with pytest.raises(InputError, match="no vote is by model 'Ann': 1 by model z@12, 1 by oracle, 2 by person"):
        votes_by(votes, JudgedBy.MODEL, "Ann")


def test_a_judge_must_be_a_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the column 'judge' is not a text"):
        read_votes([votes_in(tmp_path / "v.jsonl", {"judge": 3})])
