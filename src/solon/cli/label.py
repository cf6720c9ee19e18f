"""`solon label`: AI labels for pairs of replies from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import (
    COLUMNS,
    OVERLAYS,
    PATH,
    QUIET,
    on_option,
    recipe_option,
    settings_option,
    weak_judge_option,
)
from solon.cli.terminal import print_line, resumable
from solon.stats.intervals import interval, percent, signed, signed_interval

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster
    from solon.runs.facts import FeedbackFacts

EPILOG = """\b
Examples:
  solon label labels pairs.jsonl --recipe own --set model=models/judge
  solon label labels pairs.jsonl --recipe own --set model=models/judge --set constitution=mine.yaml
  solon label labels pairs.csv --recipe own --set model=models/judge --columns prompt=question,chosen=good,rejected=bad
  solon label labels pairs.jsonl --recipe own --set 'models.feedback=[models/one,models/two]'
  solon label labels runs/demo/05-response-pairs/rows.parquet
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=PATH)
@click.argument("pairs", type=PATH)
@recipe_option("The recipe with the settings.", default="testbed")
@OVERLAYS
@settings_option("One setting, e.g. feedback.few_shot=4.")
@COLUMNS
@weak_judge_option
@on_option
@QUIET
def label(
    out: Path,
    pairs: Path,
    recipe: str,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    columns: tuple[str, ...],
    on: RayCluster | None,
    quiet: bool,
) -> None:
    """Label pairs of replies by a constitution.

    PAIRS is JSONL, CSV or Parquet. A row has `prompt` or `messages`, and the replies as response_a and response_b, or
    as hh-rlhf's chosen and rejected. OUT is a new folder, or the folder of an interrupted call. The command reads
    `feedback`, `constitution`, `models.feedback` (or the assistant), `engine` and `seed` of the recipe. Without
    --recipe, the bundled testbed model labels; it reads only the testbed's texts. Ctrl-C saves; the same command
    continues. `solon preference --labels OUT` trains on the labels.
    """
    from solon import api
    from solon.cli.display import display_for
    from solon.pipeline.constitution_needs import unread_rules
    from solon.pipeline.labelled_pairs import unknown_prompts
    from solon.sources.columns import columns_from

    called = columns_from(columns)
    chosen = api.load_recipe(recipe, overlays, settings)
    judges = [name or chosen.models.assistant for name in chosen.models.judges]
    for line in unread_rules(judges, api.load_constitution(chosen.constitution)):
        print_line(line, err=True)
    for line in unknown_prompts(chosen, pairs, called):
        print_line(line, err=True)
    from solon.reporting.label_page import write

    with resumable("the same command"), display_for(quiet=quiet) as display:
        done = api.label(pairs, out=out, recipe=chosen, columns=called, display=display, on=on)
    from solon.runs.facts import FeedbackFacts, read_facts

    _print_summary(read_facts(FeedbackFacts, done.facts), done.agreement, done.skipped)
    click.echo(f"Labels: {done.path / 'rows.parquet'}")
    click.echo(f"Page: {write(done.artefact, done.agreement and f'{done.agreement}.')}")


def _print_summary(facts: FeedbackFacts, agreement: str | None, skipped: Mapping[str, int]) -> None:
    from solon.reporting.sentences import judge_check_sentences

    quality, undecided = facts.quality, sum(facts.undecided_because.values())
    lines = [f"{facts.pairs:,} pairs, {undecided:,} undecided; letters read by {facts.read}"]
    lines += [f"  {count:,} of them because {why}" for why, count in facts.undecided_because.items()]
    if (agree := quality.orders_agree) and (pull := quality.position_bias):
        same = f"Both orders prefer the same reply in {percent(agree.value)} [{interval(agree.facts())}] of {agree.n:,}"
        adds = f"{signed(pull.value)} [{signed_interval(pull.facts())}] log-odds"
        lines.append(f"{same} pairs; being shown as (A) adds {adds}")
    if agreement:
        lines.append(agreement)
    lines += [f"Skipped: {count:,} rows ({why})" for why, count in skipped.items()]
    lines += list(judge_check_sentences(facts.judge_check or {}))
    for line in lines:
        print_line(line)
