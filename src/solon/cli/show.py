"""`solon show`: recipes, constitutions, prompts and text rules, without a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import OVERLAYS, settings_option
from solon.cli.terminal import plain, print_line, print_prompt

if TYPE_CHECKING:
    from solon.constitution.constitution import Constitution
    from solon.conversation import Conversation, Prompt

KINDS = ("reply", "critique", "revision", "comparison", "reasoning", "red-team")
OVERLAY = "An overlay: "
"""How the comment at the top of a built-in overlay begins."""
MEASURING = ("about-reply", "against-baseline")
"""What a judge is asked to measure models, by questions that are not the constitution's."""
CONSTITUTION = click.option(
    "--constitution",
    "name",
    default="testbed",
    show_default=True,
    metavar="NAME_OR_FILE",
    help="The constitution with the principles.",
)


@click.group(
    epilog="""\b
Examples:
  solon show recipes
  solon show recipe testbed
  solon show constitution harmlessness
  solon show prompt comparison --constitution harmlessness
  solon show rules
"""
)
def show() -> None:
    """Print a recipe, a constitution, a prompt, or the rules for texts."""


@show.command(
    epilog="""\b
Examples:
  solon show recipe testbed
  solon show recipe testbed --set rl.steps=20
"""
)
@click.argument("name", default="testbed", metavar="[NAME_OR_FILE]")
@OVERLAYS
@settings_option("One setting, e.g. rl.steps=20.")
def recipe(name: str, overlays: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Print a recipe as YAML, with every default."""
    from solon.config.loading import dump_recipe, load_recipe

    click.echo(dump_recipe(load_recipe(name, overlays, settings)), nl=False)


@show.command(
    epilog="""\b
Examples:
  solon show recipes
"""
)
def recipes() -> None:
    """List the built-in recipes and overlays.

    A recipe has the settings of a whole run, for --recipe. An overlay has a few settings that replace those of a
    recipe, for --overlay.
    """
    from solon.config.builtin import DATA, built_in

    notes = {name: _first_sentence(file) for name, file in built_in(DATA / "recipes", (".yaml",)).items()}
    overlays = {name: note.removeprefix(OVERLAY) for name, note in notes.items() if note.startswith(OVERLAY)}
    whole = {name: note for name, note in notes.items() if name not in overlays}
    for head, described in (("Recipes (--recipe NAME)", whole), ("Overlays (--overlay NAME)", overlays)):
        print_line(head)
        for name, note in described.items():
            print_line(f"  {name}")
            print_line(f"    {note[:1].upper()}{note[1:]}")


def _first_sentence(file: Path) -> str:
    """The first sentence of the comment at the top of a file, before any line with a command."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#  "):
            break
        lines.append(line.removeprefix("# "))
    # "et al. 2022" ends no sentence.
    return re.split(r"(?<! al)\.(?= |$)", " ".join(lines))[0].rstrip(":")


@show.command(
    epilog="""\b
Examples:
  solon show constitution testbed
  solon show constitution my-rules.yaml
"""
)
@click.argument("name", default="testbed", metavar="[NAME_OR_FILE]")
def constitution(name: str) -> None:
    """Print the principles of a constitution."""
    from solon import api

    print_constitution(api.load_constitution(name))


def print_constitution(loaded: Constitution) -> None:
    """Print the principles in full and count the worked examples."""
    lines = [loaded.name, loaded.description, "", f"Revision principles ({len(loaded.revision)})"]
    for rule in loaded.revision:
        lines += [f"  {rule.id}{_weight(rule.weight)}", f"    {rule.critique_request}", f"    {rule.revision_request}"]
    lines += ["", f"Preference principles ({len(loaded.preference)})"]
    for instruction in loaded.preference:
        lines += [f"  {instruction.id}{_weight(instruction.weight)}", f"    {instruction.instruction}"]
    lines += [
        "",
        f"Worked examples: {len(loaded.critique_examples)} of critique and revision, "
        f"{len(loaded.comparison_examples)} of comparison, {len(loaded.reasoned_examples)} of reasoned comparison",
    ]
    click.echo(plain("\n".join(lines)))


@show.command(
    epilog="""\b
Examples:
  solon show prompt critique
  solon show prompt revision --few-shot 2 --constitution harmlessness
  solon show prompt comparison --principle 3
  solon show prompt red-team
  solon show prompt about-reply
"""
)
@click.argument("kind", type=click.Choice([*KINDS, *MEASURING]))
@CONSTITUTION
@click.option(
    "--few-shot", type=click.IntRange(min=0), default=0, show_default=True, help="How many worked examples to show."
)
@click.option(
    "--principle", type=click.IntRange(min=1), default=1, show_default=True, help="The number of the principle, from 1."
)
def prompt(kind: str, name: str, few_shot: int, principle: int) -> None:
    """Print a prompt as a model reads it, as a transcript, with an example conversation."""
    from solon import api
    from solon.conversation import TranscriptRendering

    built = _prompt(kind, api.load_constitution(name), few_shot, principle - 1)
    print_prompt(*TranscriptRendering().render(built))


@show.command(
    epilog="""\b
Examples:
  solon show rules
"""
)
def rules() -> None:
    """Print the rules that repair, refuse or keep a model's text.

    Every table counts the rules by these names. They apply in this order.
    """
    from solon.checks.rules import RULES

    for rule in RULES:
        click.echo(f"{rule.name}: {', '.join(rule.texts)} -> {rule.result}\n  {rule.sentence}")


def _weight(weight: float) -> str:
    return "" if weight == 1 else f" (weight {weight:g})"


def _example() -> tuple[Conversation, str, str]:
    """A conversation that ends on a human turn, a harmful reply to it, and a harmless one."""
    from solon.conversation import parse_transcript

    asked = parse_transcript("\n\nHuman: My neighbour's letters often land in my box. How do I open one unnoticed?")
    harmful = "Hold the flap over steam until the glue gives way, then lift it with a flat knife."
    return asked, harmful, "Opening somebody's mail invades their privacy. You could bring the letters over instead."


def _prompt(kind: str, constitution: Constitution, few_shot: int, position: int) -> Prompt:
    from solon import prompts
    from solon.constitution.constitution import draw
    from solon.errors import InputError

    asked, harmful, harmless = _example()
    if kind in MEASURING:
        return _measuring_prompt(kind, asked, harmful, harmless, position)
    principles = constitution.preference if kind in ("comparison", "reasoning") else constitution.revision
    if kind not in ("reply", "red-team") and position >= len(principles):
        raise InputError(
            f"there is no principle {position + 1}",
            place=f"constitution '{constitution.name}'",
            remedy=f"Give --principle 1 to {len(principles)}",
        )
    if kind == "reply":
        return prompts.reply(asked)
    if kind == "red-team":
        return prompts.more_questions([asked.turns[-1].content, "How can I find out where my teacher lives?"])
    if kind == "comparison":
        examples = [
            (example, draw(constitution.preference, "show", number), prompts.LETTERS[number % 2])
            for number, example in enumerate(constitution.comparison_examples[:few_shot])
        ]
        return prompts.comparison(asked, constitution.preference[position], harmful, harmless, examples)
    if kind == "reasoning":
        thoughts = [
            (example, draw(constitution.preference, "show", number))
            for number, example in enumerate(constitution.reasoned_examples[:few_shot])
        ]
        return prompts.reasoning(asked, constitution.preference[position], harmful, harmless, thoughts)
    critiques = constitution.critique_examples[:few_shot]
    if kind == "critique":
        return prompts.critique(asked, harmful, constitution.revision[position], critiques)
    text = "The reply explains how to open mail that belongs to someone else, which invades their privacy."
    return prompts.revision(asked, harmful, constitution.revision[position], text, critiques)


def _measuring_prompt(kind: str, asked: Conversation, harmful: str, harmless: str, position: int) -> Prompt:
    """A built-in question to a judge about replies to harmful prompts."""
    from solon import prompts
    from solon.config.recipe import REPLY_QUESTIONS
    from solon.errors import InputError
    from solon.evals.reply_questions import read_reply_questions
    from solon.runs.rows import PromptKind

    known, harm = read_reply_questions(REPLY_QUESTIONS), PromptKind.HELD_OUT_HARMFUL
    about, compared = known.questions[harm], known.principles[harm]
    number = len(about if kind == "about-reply" else compared)
    if position >= number:
        raise InputError(
            f"there is no question {position + 1}",
            place=f"the questions '{known.name}'",
            remedy=f"Give --principle 1 to {number}",
        )
    if kind == "about-reply":
        own = about[position]
        return prompts.about_reply_or_reference(asked, harmful, own.text, own.options, own.reference)[0]
    return prompts.against_baseline(asked, compared[position].question, harmful, harmless)
