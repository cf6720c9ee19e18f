"""`solon axes`: preference models along all axes of a constitution, and how they go together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from solon.cli.options import COLUMNS, OVERLAYS, PATH, QUIET, recipe_option, settings_option, weak_judge_option
from solon.cli.terminal import print_line, print_table, resumable

if TYPE_CHECKING:
    from solon.runs.axis_rows import AxesFacts

EPILOG = """\b
Examples:
  solon axes twelve runs/mine --recipe real --base fetched:smollm2-135m
  solon axes twelve pairs.jsonl --base models/mine --set models.feedback=models/judge
  solon axes three runs/demo --constitution testbed --base testbed:pretrained
"""
STRONGEST = 12
"""Cells that the terminal shows; the page has all."""


@dataclass(frozen=True, slots=True)
class AxesOptions:
    """The options, under their own names."""

    constitution: str
    base: str
    recipe: str | None
    overlays: tuple[str, ...]
    settings: tuple[str, ...]
    columns: tuple[str, ...]
    as_json: bool
    quiet: bool


@click.command(epilog=EPILOG)
@click.argument("out", type=PATH)
@click.argument("pairs", type=PATH)
@click.option("--constitution", default="dozen-axes", show_default=True, help="The constitution that names the axes.")
@click.option("--base", required=True, metavar="MODEL", help="The model that every preference model starts from.")
@recipe_option("The recipe with the settings. [default: testbed for the bundled models, else own]")
@OVERLAYS
@settings_option("One setting, e.g. preference.training.held_out=0.3.")
@COLUMNS
@weak_judge_option
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON.")
@QUIET
def axes(out: Path, pairs: Path, **values: Any) -> None:
    """Train a preference model for each axis, and correlate them.

    PAIRS is a run with pairs of replies, or a file of pairs as in solon label. The recipe's judge labels each pair on
    every axis that the constitution names, and each axis gets a preference model of its own. All score the same
    held-out pairs. OUT gets labels, models, correlations and a page. Ctrl-C saves; the same command continues.
    """
    from solon import api
    from solon.cli.display import display_for
    from solon.config.builtin import constitution_path, default_recipe, model_path
    from solon.config.model_spec import ModelSpec, located
    from solon.constitution.reader import load_constitution
    from solon.pipeline.labelled_pairs import GO_ON
    from solon.pipeline.standalone_axes import AxesSources, compare_axes
    from solon.reporting.axes_page import write
    from solon.runs.axis_rows import AxesFacts
    from solon.runs.facts import read_facts
    from solon.sources.columns import columns_from
    from solon.testbed.judge_questions import judge_checker

    given = AxesOptions(**values)
    name = given.recipe or default_recipe(given.base)
    chosen = api.load_recipe(name, given.overlays, (*given.settings, f"constitution={json.dumps(given.constitution)}"))
    file, base = constitution_path(given.constitution), model_path(given.base)
    sources = AxesSources(
        pairs,
        file,
        tuple(located(ModelSpec.parse(each or chosen.models.assistant)) for each in chosen.models.judges),
        base,
        judge_checker(chosen, load_constitution(file), GO_ON),
        columns=columns_from(given.columns) or None,
    )
    with resumable("the same command"), display_for(quiet=given.quiet or given.as_json) as display:
        done = compare_axes(out, chosen, sources, display)
    page = write(done)
    facts = read_facts(AxesFacts, done.facts, str(done.path))
    if given.as_json:
        click.echo(json.dumps(facts.record(), indent=2))
        return
    _print_axes(facts)
    click.echo(f"Page: {page}")


def _print_axes(facts: AxesFacts) -> None:
    from solon.reporting.axis_charts import UNLEARNED_NOTE, accuracy_in_words, in_words, marked

    rows = [
        [marked(each.axis, facts), str(each.labelled), str(each.training), accuracy_in_words(each)]
        for each in facts.axes
    ]
    head = ("Axis", "Labels", "Trained on", "Accuracy, %")
    print_table("Axes, and the accuracy of their models [95 % interval]", head, rows)
    strongest = [cell for cell in facts.in_order() if cell.scores is not None][:STRONGEST]
    cells = [
        [marked(cell.one, facts), marked(cell.other, facts), in_words(cell.scores), in_words(cell.labels)]
        for cell in strongest
    ]
    title = f"Strongest correlations on {facts.pairs} held-out pairs [95 % interval over prompts]"
    print_table(title, ("Axis", "Other axis", "Models", "Labels"), cells)
    if facts.unlearned:
        print_line(UNLEARNED_NOTE)
