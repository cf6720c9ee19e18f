"""`solon elo`: ratings of models from votes, with intervals and win rates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import PATH, FiniteFloat
from solon.cli.terminal import WIDEST_NAME, print_line, print_table, print_warning, shorten
from solon.stats.intervals import per_cent

if TYPE_CHECKING:
    from solon.comparisons.elo_ratings import ModeRatings

HEAD = ("Model", "Elo", "95 % interval", "Win rate, %", "Comparisons")
JUDGES = ("person", "model", "oracle")


@click.command(
    epilog="""\b
Examples:
  solon elo runs/comparison
  solon elo runs/comparison runs/blind/votes.jsonl --anchor testbed:pretrained
  solon elo runs/comparison --judged-by person --json
"""
)
@click.argument("votes", nargs=-1, required=True, type=PATH, metavar="VOTES...")
@click.option("--anchor", metavar="MODEL", help="The model with a fixed rating. [default: the mean of all is 0]")
@click.option("--anchor-at", type=FiniteFloat(), help="The anchor's rating. [default: 0]")
@click.option("--judged-by", type=click.Choice(JUDGES), help="Only these votes. [default: all]")
@click.option("--judge", metavar="NAME", help="Only votes of the judge of this name. [default: all]")
@click.option("--replicates", type=click.IntRange(20), default=1000, show_default=True,
              help="How often conversations are resampled for the intervals.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON, with 95 % intervals and counts.")
def elo(
    votes: tuple[Path, ...],
    anchor: str | None,
    anchor_at: float | None,
    judged_by: str | None,
    judge: str | None,
    replicates: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compute Elo ratings from votes.

    VOTES is the folder of a comparison, its votes.sqlite, or JSON lines with mode, model_a, model_b and preferred (a, b
    or tie). A vote that stands in them twice counts once. Ratings are Bradley-Terry strengths, fitted by maximum
    likelihood; a tie is half a win for each. Intervals come from resampling whole conversations. Helpfulness and
    harmlessness are rated apart.
    """
    from solon.comparisons.elo_ratings import EloSettings, elo_ratings, votes_by
    from solon.comparisons.vote_files import counted_votes

    if anchor is None and anchor_at is not None:
        raise click.UsageError("--anchor-at is the rating of the --anchor, and none is named")
    read = counted_votes(votes)
    settings = EloSettings(anchor, anchor_at or 0.0, replicates, seed)
    found = elo_ratings(votes_by(read.votes, judged_by, judge), settings)
    if read.repeated:
        print_line(f"{read.repeated:,} votes stand in the files more than once, and count once", err=True)
    if as_json:
        click.echo(json.dumps([each.facts() for each in found], indent=2))
        return
    for each in found:
        _print(each)


def _print(found: ModeRatings) -> None:
    by = ", ".join(f"{shorten(who, WIDEST_NAME)} {count:,}" for who, count in found.judges.items())
    undecided = f", {found.undecided:,} undecided" if found.undecided else ""
    title = (
        f"{found.mode.capitalize()}: {found.votes:,} votes ({by}) in {found.conversations:,} conversations, "
        f"{found.ties:,} ties{undecided}"
    )
    several = len({rating.group for rating in found.ratings}) > 1
    rows = [
        [
            f"{rating.model} (group {rating.group})" if several else rating.model,
            f"{round(rating.elo)}",
            "-" if rating.low is None or rating.high is None else f"{round(rating.low)} to {round(rating.high)}",
            per_cent(rating.win_rate.value),
            f"{rating.win_rate.n:,}",
        ]
        for rating in found.ratings
    ]
    print_table(title, HEAD, rows)
    models = [rating.model for rating in found.ratings]
    if len(models) > 1:
        print_table("Win rate of the row against the column, % (votes)", ("", *models), list(_matrix(found, models)))
    for line in found.warnings:
        print_warning(line)


def _matrix(found: ModeRatings, models: Sequence[str]) -> list[list[str]]:
    # Both rates of a pair come from its counts: one minus the other rounds in another way than the table of ratings.
    rates = {(pair.first, pair.second): (pair.win_rate.value, pair.win_rate.n) for pair in found.pairs}
    rates |= {
        (pair.second, pair.first): ((pair.losses + pair.ties / 2) / pair.win_rate.n, pair.win_rate.n)
        for pair in found.pairs
    }

    def cell(row: str, column: str) -> str:
        known = rates.get((row, column))
        return "-" if known is None else f"{per_cent(known[0])} ({known[1]:,})"

    return [[row, *(cell(row, column) for column in models)] for row in models]
