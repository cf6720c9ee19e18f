"""`solon testbed`: train and measure the bundled testbed's two models, and write its prompts and ratings."""

from __future__ import annotations

from pathlib import Path

import click

from solon.cli.options import NEW_FILE, NEW_FOLDER, THREADS


@click.group(
    epilog="""\b
Examples:
  solon testbed prompts data/testbed          write the six prompt files
  solon testbed train models                  train both models from scratch
  solon testbed card testbed:assistant        measure what a model can do
  solon testbed words                         the words that a principle may use
  solon testbed ratings ratings.jsonl         conversations that the oracle rates for harm
"""
)
def testbed() -> None:
    """Train and inspect the bundled testbed."""


@testbed.command(
    epilog="""\b
Examples:
  solon testbed train models
  solon testbed train models --seed 1 --threads 2
"""
)
@click.argument("output", type=NEW_FOLDER)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of weights and documents."
)
@THREADS
def train(output: Path, seed: int, threads: int | None) -> None:
    """Train both models from scratch into OUTPUT, in an hour or two on two cores."""
    from solon.testbed.pretraining import PretrainingPlan
    from solon.testbed.pretraining import train as train_models

    train_models(output, PretrainingPlan(seed=seed, threads=threads), report=click.echo)


@testbed.command(
    epilog="""\b
Examples:
  solon testbed card testbed:assistant
  solon testbed card testbed:pretrained testbed:assistant --output README.md
"""
)
@click.argument("models", nargs=-1, required=True)
@click.option("--rows", type=click.IntRange(min=1), default=60, show_default=True, help="Questions for each ability.")
@click.option("--output", type=NEW_FILE, help="The file to write. [default: standard output]")
def card(models: tuple[str, ...], rows: int, output: Path | None) -> None:
    """Measure replies, critiques, revisions and judgements of MODELS and print their model card."""
    from solon.config.model_spec import ModelSpec, located
    from solon.engines.registry import open_engine
    from solon.testbed.abilities import measure_abilities
    from solon.testbed.bundled_card import card as card_of

    specs = [located(ModelSpec.parse(model)) for model in models]
    measured = {Path(spec.name).name: measure_abilities(open_engine(spec), rows=rows) for spec in specs}
    text = card_of(measured, [*models, "--rows", str(rows)])
    if output is None:
        click.echo(text)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"Card: {output}")


@testbed.command(
    epilog="""\b
Examples:
  solon testbed words
"""
)
def words() -> None:
    """Print the words that a principle of the testbed may use."""
    from solon.testbed.principle_language import TERMS, wordings

    for target, terms in TERMS.items():
        click.echo(f"{target}: {', '.join(terms)}")
    for kind in ("critique", "revision", "comparison"):
        click.echo(f"\n{kind} sentences:")
        for sentence in wordings(kind):
            click.echo(f"  {sentence}")


@testbed.command(
    epilog="""\b
Examples:
  solon testbed prompts data/testbed
"""
)
@click.argument("output", type=NEW_FOLDER)
def prompts(output: Path) -> None:
    """Write the testbed's six prompt files to the folder OUTPUT."""
    from solon.testbed.prompt_writer import write_prompt_files

    output.mkdir(parents=True, exist_ok=True)
    for name, rows in write_prompt_files(output).items():
        click.echo(f"{output / f'{name}.jsonl'}: {rows} rows")


@testbed.command(
    epilog="""\b
Examples:
  solon testbed ratings ratings.jsonl
  solon testbed ratings unseen.jsonl --held-out --count 300
  solon testbed ratings replies.jsonl --model testbed:assistant --model runs/demo/08-rl-cai/model
"""
)
@click.argument("file", type=NEW_FILE)
@click.option("--count", type=click.IntRange(min=1), default=2000, show_default=True, help="Conversations, at most.")
@click.option("--held-out", is_flag=True, help="About the topics that no training prompt names.")
@click.option(
    "--model", "models", multiple=True, help="Rate this model's replies to the prompts of the testbed; may be repeated."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def ratings(file: Path, count: int, held_out: bool, models: tuple[str, ...], seed: int) -> None:
    """Write conversations with the oracle's ratings of harm, 0 to 4.

    FILE gets the format of hh-rlhf's red-team attempts, which `solon harmfulness train` reads. Without --model the
    conversations have replies of every kind, as the testbed's comparisons have.
    """
    from solon.config.builtin import source_path
    from solon.config.model_spec import ModelSpec, located
    from solon.config.recipe import SamplingParams
    from solon.engines.registry import open_engine
    from solon.sources.prompt_files import read_prompts
    from solon.testbed.rated_attempts import answered_attempts, write_attempts, written_attempts
    from solon.testbed.world import load_world

    specs = [located(ModelSpec.parse(model)) for model in models]
    if specs:
        source = source_path(f"testbed:{'held-out-harmful' if held_out else 'red-team'}")
        asked = [each.conversation for each in read_prompts(source).prompts]
        samples = -(-count // (len(asked) * len(specs)))
        each_model = (answered_attempts(open_engine(spec), asked, samples, SamplingParams(), seed) for spec in specs)
        conversations = [one for group in zip(*each_model, strict=False) for one in group][:count]
    else:
        conversations = written_attempts(load_world(), count, seed, held_out=held_out)
    shares = write_attempts(file, conversations, ", ".join(models) or "testbed")
    for rating, number in shares.items():
        click.echo(f"Rated {rating}: {number:,} conversations")
    click.echo(f"Ratings: {file}")
