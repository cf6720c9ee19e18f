"""`solon testbed`: make and measure the bundled micro world, its prompts and its two models."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(
    epilog="""\b
Examples:
  solon testbed prompts data/testbed          write the five prompt files
  solon testbed train models                  train both models from scratch
  solon testbed card models/assistant         measure what a model can do
"""
)
def testbed() -> None:
    """Train and look at the bundled micro world."""


@testbed.command(
    epilog="""\b
Examples:
  solon testbed train models
  solon testbed train models --seed 1 --threads 2
"""
)
@click.argument("output", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and documents.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch. [default: all cores]")
def train(output: Path, seed: int, threads: int | None) -> None:
    """Train both models from scratch below OUTPUT: an hour or two on two cores."""
    from solon.testbed.pretraining import Plan
    from solon.testbed.pretraining import train as train_models

    train_models(output, Plan(seed=seed, threads=threads), report=click.echo)


@testbed.command(
    epilog="""\b
Examples:
  solon testbed card testbed:assistant
  solon testbed card models/assistant --rows 20
"""
)
@click.argument("model")
@click.option("--rows", type=click.IntRange(min=1), default=60, show_default=True, help="Questions for each ability.")
def card(model: str, rows: int) -> None:
    """Measure MODEL's abilities: replies, critiques, revisions, judgements."""
    from solon.builtin import model_path
    from solon.cli.terminal import print_table
    from solon.engines.local import LocalEngine
    from solon.recipe import EngineSettings
    from solon.testbed.abilities import measure_abilities

    engine = LocalEngine.load(model_path(model), EngineSettings())
    abilities = measure_abilities(engine, rows=rows)
    shares = [
        [name, f"{share.value * 100:.1f} %", f"[{share.low * 100:.0f}-{share.high * 100:.0f}]", f"{share.n}"]
        for name, share in abilities.shares.items()
    ]
    print_table(f"Abilities of {model}", ("Ability", "Share", "95 %", "Cases"), shares)
    print_table("The judge", ("Figure", "Value"), [[name, f"{value:.3f}"] for name, value in abilities.figures.items()])


@testbed.command(
    epilog="""\b
Examples:
  solon testbed prompts data/testbed
"""
)
@click.argument("output", type=click.Path(path_type=Path, file_okay=False))
def prompts(output: Path) -> None:
    """Write the world's five prompt files into the folder OUTPUT."""
    from solon.testbed.prompts import write_prompt_files

    output.mkdir(parents=True, exist_ok=True)
    for name, rows in write_prompt_files(output).items():
        click.echo(f"{output / f'{name}.jsonl'}: {rows} rows")
