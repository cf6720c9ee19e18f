"""`solon harmfulness`: train a model of people's ratings of harm, and score the replies of models by it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from solon.cli.options import COLUMNS, PATH, QUIET, FiniteRange, recipe_option, settings_option
from solon.cli.terminal import print_line, print_table, resumable

if TYPE_CHECKING:
    from solon.runs.harmfulness_rows import AbsoluteScoreFacts


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """The options of `measure`, under their own names."""

    scorer: Path
    prompts: str | None
    limit: int
    samples: int
    temperatures: tuple[float, ...]
    max_tokens: int
    recipe: str | None
    settings: tuple[str, ...]
    as_json: bool
    quiet: bool


@click.group(
    epilog="""\b
Examples:
  solon harmfulness train harm ratings.jsonl --base testbed:pretrained
  solon harmfulness measure harm-scores testbed:assistant runs/demo/08-rl-cai --scorer harm
"""
)
def harmfulness() -> None:
    """Score models for harm by people's ratings.

    People rate whole conversations from 0 to 4. `train` learns to predict the ratings, and `measure` gives each model
    the mean predicted rating of its replies to held-out prompts (paper, section 5 and figure 10).
    """


@harmfulness.command(
    epilog="""\b
Examples:
  solon harmfulness train harm ratings.jsonl --base testbed:pretrained
  solon harmfulness train harm red_team_attempts.jsonl.gz --base models/mine --set preference.training.epochs=2
  solon harmfulness train harm ratings.jsonl --base testbed:pretrained --held-out unseen.jsonl
"""
)
@click.argument("out", type=PATH)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--base", required=True, metavar="MODEL", help="The model to start from: a folder or testbed:NAME.")
@click.option(
    "--held-out",
    type=PATH,
    metavar="FILE",
    help="Ratings to predict and not to learn. [default: preference.training.held_out of the prompts]",
)
@COLUMNS
@recipe_option("The recipe with the settings. [default: testbed for the bundled models, else own]")
@settings_option("One setting, as in solon run.")
@QUIET
def train(
    out: Path,
    files: tuple[Path, ...],
    base: str,
    held_out: Path | None,
    columns: tuple[str, ...],
    recipe: str | None,
    settings: tuple[str, ...],
    quiet: bool,
) -> None:
    """Train a model that predicts ratings of harm.

    FILE is JSONL, a JSON array, CSV or Parquet, in the format of hh-rlhf's red-team attempts: `transcript` (or
    `messages`) and `rating`, 0 to 4. OUT is a new folder, or the folder of an interrupted call. The command reads
    `preference.training`, `engine` and `seed` of the recipe.
    """
    from solon import api
    from solon.cli.display import display_for
    from solon.config.builtin import default_recipe, model_path
    from solon.pipeline.standalone_harmfulness import TRAINED, RatingSources, train_harmfulness
    from solon.reporting.harmfulness_page import calibration_sentences, write_training
    from solon.runs.facts import read_facts
    from solon.runs.harmfulness_rows import HarmfulnessFacts
    from solon.sources.columns import columns_from

    chosen = api.load_recipe(recipe or default_recipe(base), (), settings)
    sources = RatingSources(model_path(base), files, held_out, columns_from(columns) or None)
    with resumable("the same command"), display_for(quiet=quiet) as display:
        display.stage_started(1, TRAINED, 1)
        done = train_harmfulness(out, chosen, sources, display.progress)
        display.stage_finished(TRAINED, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds, "steps")
    facts = read_facts(HarmfulnessFacts, done.facts, str(done.path))
    for why, count in facts.skipped.items():
        click.echo(f"Skipped: {count:,} conversations ({why})")
    if facts.too_long:
        click.echo(f"Left out: {facts.too_long:,} conversations that are longer than the model's window")
    for sentence in calibration_sentences(facts.calibration) if facts.calibration else ():
        print_line(sentence)
    if facts.calibration is None:
        click.echo("Nothing was held out, so that it is not known how well it predicts")
    click.echo(f"Page: {write_training(done)}")
    click.echo(f"Use it with: solon harmfulness measure OUT MODEL --scorer {shlex.quote(str(done.path))}")


@harmfulness.command(
    epilog="""\b
Examples:
  solon harmfulness measure harm-scores testbed:assistant --scorer harm
  solon harmfulness measure harm-scores runs/demo:sl-cai runs/demo:rl-cai --scorer harm --recipe testbed
  solon harmfulness measure harm-scores models/mine --scorer harm --prompts red.jsonl --temperature 0.5 --temperature 1
"""
)
@click.argument("out", type=PATH)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--scorer", required=True, type=PATH, metavar="FOLDER", help="What solon harmfulness train wrote.")
@click.option("--prompts", metavar="SOURCE", help="Held-out red-team prompts. [default: measure.harmful of the recipe]")
@click.option("--limit", type=click.IntRange(1), default=64, show_default=True, help="Prompts, drawn by the seed.")
@click.option("--samples", type=click.IntRange(1), default=16, show_default=True, help="Replies to each prompt.")
@click.option(
    "--temperature",
    "temperatures",
    multiple=True,
    type=FiniteRange(0),
    default=(0.5, 1.0),
    show_default=True,
    help="A sampling temperature; may be repeated.",
)
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Most tokens of a reply.")
@recipe_option("The recipe with engine, seed and prompts. [default: testbed for the bundled models, else own]")
@settings_option("One setting, as in solon run.")
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON.")
@QUIET
def measure(out: Path, models: tuple[str, ...], **values: Any) -> None:
    """Score the replies of models to held-out prompts.

    MODEL is a model folder, the folder of a stage that trained one, a model of a run (RUN:rl-cai), or testbed:NAME. The
    score of a model at a temperature is the mean over prompts of the mean predicted rating, 0 to 4, with its 95 %
    interval over prompts. OUT is a new folder, or the folder of an interrupted call.
    """
    from solon import api
    from solon.cli.display import display_for
    from solon.config.builtin import default_recipe
    from solon.pipeline.standalone_harmfulness import MEASURED, ToScore, models_by_name, score_harmfulness
    from solon.reporting.harmfulness_page import write_scores
    from solon.runs.facts import read_facts
    from solon.runs.harmfulness_rows import AbsoluteScoreFacts

    options = ScoreOptions(**values)
    chosen = api.load_recipe(options.recipe or default_recipe(*models), (), options.settings)
    to_score = ToScore(
        models_by_name(models),
        options.scorer,
        options.prompts or chosen.measure.harmful,
        options.limit,
        options.samples,
        tuple(dict.fromkeys(options.temperatures)),
        options.max_tokens,
    )
    with resumable("the same command"), display_for(quiet=options.quiet or options.as_json) as display:
        display.stage_started(1, MEASURED, 1)
        done = score_harmfulness(out, chosen, to_score, display.progress)
        display.stage_finished(MEASURED, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds)
    page = write_scores(done)
    facts = read_facts(AbsoluteScoreFacts, done.facts, str(done.path))
    if options.as_json:
        click.echo(json.dumps(facts.record(), indent=2))
        return
    _print_scores(facts)
    click.echo(f"Page: {page}")


def _print_scores(facts: AbsoluteScoreFacts) -> None:
    from solon.reporting.harmfulness_page import NO_CALIBRATION, calibration_sentences
    from solon.reporting.rating_charts import in_words

    rows = [
        [
            each.model,
            f"{each.temperature:g}",
            in_words(each.score) if each.score else "-",
            str(each.replies),
            ", ".join(f"{count} {why}" for why, count in each.unscored.items()) or "0",
        ]
        for each in facts.scores
    ]
    title = f"Absolute harmfulness, 0 to 4, over {facts.prompts} prompts [95 % interval over prompts]"
    print_table(title, ("Model", "Temperature", "Score", "Replies", "Without a score"), rows)
    for sentence in calibration_sentences(facts.calibration) if facts.calibration else (NO_CALIBRATION,):
        print_line(sentence)
