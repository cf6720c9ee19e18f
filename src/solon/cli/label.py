"""`solon label`: AI labels for pairs of replies that somebody brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from solon.cli.run import ACCEPT
from solon.cli.terminal import COLUMNS, INTERRUPTED, plain
from solon.stats.intervals import percent

ACCEPT_WEAK = "--accept-weak-judge"

EPILOG = """\b
Examples:
  solon label labels pairs.jsonl --recipe testbed
  solon label labels pairs.jsonl --recipe real --set models.feedback=models/judge --set constitution=mine.yaml
  solon label labels pairs.csv --columns prompt=question,chosen=good,rejected=bad
  solon label labels harmless-base.jsonl.gz --recipe real --set feedback.form=reasoned --set feedback.samples=5
  solon label labels runs/demo/05-response-pairs/rows.parquet --set 'models.feedback=[models/one,models/two]'
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option(
    "--recipe", default="testbed", show_default=True, metavar="NAME_OR_FILE", help="The recipe with the settings."
)
@click.option(
    "--overlay", "overlays", multiple=True, metavar="FILE", help="Settings that replace the recipe's; may be repeated."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. feedback.few_shot=4.")
@COLUMNS
@click.option(ACCEPT_WEAK, is_flag=True, help="Label even if the judge is not better than chance.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
def label(
    out: Path,
    pairs: Path,
    recipe: str,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    columns: tuple[str, ...],
    accept_weak_judge: bool,
    quiet: bool,
) -> None:
    """Label pairs of replies by a constitution.

    PAIRS is JSONL, CSV or Parquet; a row holds `prompt` or `messages` and the replies as response_a and response_b, or
    hh-rlhf's chosen and rejected. OUT is a new folder, or the folder of an interrupted call. The command reads
    `feedback`, `constitution`, `models.feedback` (or the assistant), `engine` and `seed` of the recipe. Ctrl-C saves;
    the same command continues. `solon preference --labels OUT` trains on the labels.
    """
    from solon.cli.constitution_check import unread_rules
    from solon.cli.display import display_for
    from solon.config.builtin import constitution_path, model_path
    from solon.config.recipe import load_recipe
    from solon.constitution.constitution import load_constitution

    accepted = (ACCEPT,) if accept_weak_judge else ()
    chosen = load_recipe(recipe, overlays, (*settings, *accepted))
    constitution = constitution_path(chosen.constitution)
    judges = tuple(model_path(name or chosen.models.assistant) for name in chosen.models.judges)
    from solon.pipeline.standalone_labels import NAME, ToLabel, agreement, label_standalone
    from solon.sources.columns import columns_from
    from solon.sources.pair_files import read_pairs
    from solon.testbed.judge_questions import judge_checker

    called = columns_from(columns)
    again = f"the same command and {ACCEPT_WEAK}"
    loaded = load_constitution(constitution)
    for line in unread_rules([name or chosen.models.assistant for name in chosen.models.judges], loaded):
        click.echo(plain(line, lines=False), err=True)
    given = ToLabel(pairs, constitution, judges, judge_checker(chosen, loaded, again), columns=called)
    try:
        with display_for(quiet=quiet) as display:
            display.stage_started(1, NAME, 1)
            done = label_standalone(out, chosen, given, lambda at: display.progress(at.done, at.total, at.note))
            display.stage_finished(NAME, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds)
    except KeyboardInterrupt:
        click.echo("Stopped. Everything finished is saved. The same command continues", err=True)
        click.get_current_context().exit(INTERRUPTED)
    from solon.report.label_page import write

    file = read_pairs(pairs, called)
    right, asked = agreement(done.rows(), file)
    agreed = f"The labels side with the file's own choice on {right:,} of {asked:,} pairs" if asked else None
    _tell(done.facts, agreed, file.skipped)
    click.echo(f"Labels: {done.path / 'rows.parquet'}")
    click.echo(f"Page: {write(done, agreed and f'{agreed}.')}")


def _tell(facts: Mapping[str, Any], agreed: str | None, skipped: Mapping[str, int]) -> None:
    from solon.report.sentences import judge_check_sentences

    quality, undecided = facts["quality"], sum(facts["undecided_because"].values())
    lines = [f"{facts['pairs']:,} pairs, {undecided:,} undecided; letters read by {facts['read']}"]
    lines += [f"  {count:,} of them because {why}" for why, count in facts["undecided_because"].items()]
    if agree := quality["orders_agree"]:
        pull = quality["position_bias"]["value"]
        told = f"Both orders name the same reply in {percent(agree['value'])} of {agree['n']:,} pairs"
        lines.append(f"{told}; standing under (A) adds {pull:+.2f} log-odds")
    if agreed:
        lines.append(agreed)
    lines += [f"Skipped: {count:,} rows ({why})" for why, count in skipped.items()]
    lines += list(judge_check_sentences(facts.get("judge_check", {})))
    for line in lines:
        click.echo(plain(line, lines=False))
