"""`solon export`: hand on what a run made."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.group(
    epilog="""\b
Examples:
  solon export model runs/demo exported/sl-cai
  solon export model runs/demo exported/rl-cai --model rl-cai
"""
)
def export() -> None:
    """Hand a run's model on."""


@export.command(
    epilog="""\b
Examples:
  solon export model runs/demo exported/sl-cai                      the whole model
  solon export model runs/demo exported/rl-cai --model rl-cai
  solon export model runs/real exported/lora --weights adapter      the LoRA adapter alone
"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--model", type=click.Choice(["sl-cai", "rl-cai"]), default="sl-cai", show_default=True, help="Which one."
)
@click.option(
    "--weights", type=click.Choice(["merged", "adapter"]), default="merged", show_default=True, help="In which form."
)
def model(run: Path, folder: Path, model: str, weights: str) -> None:
    """Write a trained model of RUN into the new folder FOLDER, as a model hub lays it out.

    It holds weights and tokenizer, the constitution, and a model card that names constitution, data and base model by
    hash, the settings, and what was measured. Nothing is sent anywhere.
    """
    from solon.report.export import Weights, export_model
    from solon.runs import RunDirectory

    done = export_model(RunDirectory.open(run), model, Weights(weights), folder)
    click.echo(f"Model: {done}")
    click.echo(f"To put it on the Hugging Face hub: hf upload NAME/{model} {shlex.quote(str(done))}")
