"""`solon export`: write a run's model, or its RL stage, for other programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit

import click

from solon.cli.options import PATH, RUN
from solon.cli.terminal import print_warning


class _ExportGroup(click.Group):
    """Refuses trainers that have a description instead of a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`."""
        if args and args[0] in ("openrlhf", "verl"):
            cause = f"there is no export to {args[0]}"
            raise click.UsageError(f"{cause}. docs/trainers.md describes how to use the folder of: solon export trl")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_ExportGroup,
    epilog="""\b
Examples:
  solon export model runs/demo exported/sl-cai
  solon export model runs/demo exported/rl-cai --model rl-cai
  solon export trl runs/demo exported/trl
""",
)
def export() -> None:
    """Export a run's model, or its RL stage to TRL."""


@export.command(
    epilog="""\b
Examples:
  solon export model runs/demo exported/sl-cai                      the whole model
  solon export model runs/demo exported/rl-cai --model rl-cai
  solon export model runs/real exported/lora --weights adapter      only the LoRA adapter
"""
)
@RUN
@click.argument("folder", type=PATH)
@click.option(
    "--model",
    metavar="STAGE",
    default="sl-cai",
    show_default=True,
    help="The stage that trained it: sl-cai, rl-cai, rlhf, or rl-cai-2 for round 2.",
)
@click.option(
    "--weights",
    type=click.Choice(["merged", "adapter"]),
    default="merged",
    show_default=True,
    help="The whole model with its adapter merged, or only the adapter.",
)
def model(run: Path, folder: Path, model: str, weights: str) -> None:
    """Write a trained model of RUN to the new folder FOLDER, in the layout of a model hub.

    The folder contains weights, tokenizer, constitution and model card. The card has the hashes of constitution, data
    and base model, the settings, and the measures. Nothing is uploaded.
    """
    from solon.export.model_folder import ExportedWeights, export_model
    from solon.runs import RunDirectory

    directory = RunDirectory.open(run)
    done = export_model(directory, model, ExportedWeights(weights), folder)
    for edit in directory.edits():
        print_warning(f"{edit}; the model card says so")
    click.echo(f"Model: {done}")
    click.echo(f"Upload it to the Hugging Face hub with: hf upload NAME/{model} {shlex.quote(str(done))}")


@export.command(
    epilog="""\b
Examples:
  solon export trl runs/demo exported/trl
  solon export trl runs/demo exported/trl --reward server --url http://10.0.0.5:8000
  solon export trl runs/demo exported/trl --steps 200      prompts for more steps than the recipe's
  cd exported/trl && python check_folder.py && ./launch.sh
"""
)
@RUN
@click.argument("folder", type=PATH)
@click.option(
    "--reward",
    type=click.Choice(["folder", "server"]),
    default="folder",
    show_default=True,
    help="Take scores from the folder's preference model, or from a server.",
)
@click.option("--url", metavar="URL", help="The address of `solon serve-pm`, for --reward server.")
@click.option(
    "--steps", type=click.IntRange(min=1), help="Steps to write prompts for. [default: the recipe's rl.steps]"
)
def trl(run: Path, folder: Path, reward: str, url: str | None, steps: int | None) -> None:
    """Write a folder that trains the RL stage of RUN with TRL, by RLOO.

    The folder contains prompts, the SL-CAI model, the preference model, the reward as a Python file, train.py with the
    recipe's settings in config.yaml, launch.sh, and check_folder.py. The last one checks that another machine reads all
    of this as Solon does. Nothing is started.
    """
    if (reward == "server") != (url is not None):
        raise click.UsageError("--reward server needs --url, and --url needs --reward server")
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        raise click.BadParameter("the address must begin with http:// or https://", param_hint="--url")
    from solon.export.trainers.trainer_folder import export_for_trl
    from solon.runs import RunDirectory

    done = export_for_trl(RunDirectory.open(run), folder, url=url, steps=steps)
    excluded = "".join(f", {count} excluded ({reason})" for reason, count in done.excluded.items() if count)
    click.echo(f"Folder: {done.folder}")
    click.echo(f"Prompts: {done.training} for training, {done.held_out} held out{excluded}")
    click.echo(f"Check it on the machine that trains: python {shlex.quote(str(done.folder / 'check_folder.py'))}")
