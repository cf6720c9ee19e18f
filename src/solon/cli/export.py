"""`solon export`: hand on what a run made."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click


@click.group(
    epilog="""\b
Examples:
  solon export model runs/demo exported/sl-cai
  solon export model runs/demo exported/rl-cai --model rl-cai
  solon export openrlhf runs/demo exported/openrlhf
"""
)
def export() -> None:
    """Export a run's model, or its RL stage to TRL."""


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
    "--model",
    metavar="STAGE",
    default="sl-cai",
    show_default=True,
    help="Which one: sl-cai, rl-cai, of a later round rl-cai-2, or rlhf.",
)
@click.option(
    "--weights", type=click.Choice(["merged", "adapter"]), default="merged", show_default=True, help="In which form."
)
def model(run: Path, folder: Path, model: str, weights: str) -> None:
    """Write a trained model of RUN into the new folder FOLDER, as a model hub lays it out.

    It holds weights and tokenizer, the constitution, and a model card that names constitution, data and base model by
    hash, the settings, and what was measured. Nothing is sent anywhere.
    """
    from solon.cli.terminal import plain
    from solon.export.model_folder import ExportedWeights, export_model
    from solon.runs import RunDirectory

    directory = RunDirectory.open(run)
    done = export_model(directory, model, ExportedWeights(weights), folder)
    for edit in directory.edits():
        click.echo(plain(f"Mind this: {edit}; the model card says so", lines=False), err=True)
    click.echo(f"Model: {done}")
    click.echo(f"To put it on the Hugging Face hub: hf upload NAME/{model} {shlex.quote(str(done))}")


def _handed_on(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of a hand-off to a trainer."""
    path = click.Path(path_type=Path)
    for decorate in (
        click.option(
            "--steps", type=click.IntRange(min=1), help="Steps to write prompts for. [default: the recipe's rl.steps]"
        ),
        click.option("--url", metavar="URL", help="Where `solon serve-pm` listens, for --reward server."),
        click.option(
            "--reward",
            type=click.Choice(["folder", "server"]),
            default="folder",
            show_default=True,
            help="What the trainer asks for scores: the folder's preference model, or a server.",
        ),
        click.argument("folder", type=path),
        click.argument("run", type=path),
    ):
        command = decorate(command)
    return command


@export.command(
    epilog="""\b
Examples:
  solon export openrlhf runs/demo exported/openrlhf
  solon export openrlhf runs/demo exported/openrlhf --reward server --url http://10.0.0.5:8000
  solon export openrlhf runs/demo exported/openrlhf --steps 200      prompts for more steps than the recipe's
"""
)
@_handed_on
def openrlhf(**given: Any) -> None:
    """Write a folder from which OpenRLHF goes on with RUN by PPO on many GPUs.

    It holds prompts, the SL-CAI model, the preference model, the reward as a Python file, launch.sh with the recipe's
    settings, and check.py, which tells whether another machine reads all of this as Solon does. Nothing is started.
    """
    _hand_on("openrlhf", **given)


@export.command(
    epilog="""\b
Examples:
  solon export verl runs/demo exported/verl
  solon export verl runs/demo exported/verl --reward server --url http://10.0.0.5:8000
"""
)
@_handed_on
def verl(**given: Any) -> None:
    """Write a folder from which verl goes on with RUN by PPO on many GPUs.

    It holds prompts as Parquet, the SL-CAI model, the preference model, the reward as a Python file, launch.sh with the
    recipe's settings, and check.py, which tells whether another machine reads all of this as Solon does.
    """
    _hand_on("verl", **given)


@export.command(
    epilog="""\b
Examples:
  solon export trl runs/demo exported/trl
  cd exported/trl && python check.py && ./launch.sh
"""
)
@_handed_on
def trl(**given: Any) -> None:
    """Write a folder from which TRL goes on with RUN by RLOO.

    It holds prompts, the SL-CAI model, the preference model, the reward as a Python file, train.py with the recipe's
    settings in config.yaml, and check.py, which tells whether another machine reads all of this as Solon does.
    """
    _hand_on("trl", **given)


def _hand_on(name: str, run: Path, folder: Path, reward: str, url: str | None, steps: int | None) -> None:
    if (reward == "server") != (url is not None):
        raise click.UsageError("--reward server and --url belong together")
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        raise click.BadParameter("an address begins with http:// or https://", param_hint="--url")
    from solon.export.trainers.trainer_folder import TRAINERS, export_handoff
    from solon.runs import RunDirectory

    done = export_handoff(RunDirectory.open(run), TRAINERS[name], folder, url=url, steps=steps)
    left_out = "".join(f", {count} left out ({reason})" for reason, count in done.left_out.items() if count)
    click.echo(f"Folder: {done.folder}")
    click.echo(f"Prompts: {done.training} for training, {done.held_out} held out{left_out}")
    click.echo(f"Check it where it is to be used: python {shlex.quote(str(done.folder / 'check.py'))}")
