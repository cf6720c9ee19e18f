"""`solon agreement`: how far rules and a judge agree with the testbed's oracle."""

from __future__ import annotations

import json
from pathlib import Path

import click

from solon.cli.options import PATH, QUIET, RUN
from solon.cli.terminal import print_table, resumable

EPILOG = """\b
Examples:
  solon agreement by-rules runs/demo                                   the rules alone, in a second
  solon agreement by-judge runs/demo --judge fetched:qwen2.5-coder-1.5b
  solon agreement by-rules runs/demo --markdown                        the table for a document
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=PATH)
@RUN
@click.option("--judge", metavar="MODEL", help="A model that is asked about every reply; only the rules without one.")
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON, with 95 % intervals and counts.")
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@QUIET
def agreement(out: Path, run: Path, judge: str | None, as_json: bool, markdown: bool, quiet: bool) -> None:
    """Compare rules and a judge with the testbed's oracle.

    RUN is a finished run on the testbed. On its replies to held-out prompts the oracle knows which evade, refuse or
    preach. The command prints Cohen's kappa of each rule with it, and of a judge, with bootstrap intervals over
    prompts. OUT is a new folder, or the folder of an interrupted call.
    """
    from solon.cli.display import display_for
    from solon.config.model_spec import ModelSpec, located
    from solon.pipeline.standalone_agreement import NAME, ToCompare, compare_with_oracle
    from solon.reporting.refusal_tables import AGREEMENT_HEAD, agreement_markdown, agreement_table
    from solon.runs import RunDirectory
    from solon.runs.facts import read_facts
    from solon.runs.refusal_rows import AgreementFacts

    given = ToCompare(RunDirectory.open(run), located(ModelSpec.parse(judge)) if judge else None)
    with resumable("the same command"), display_for(quiet=quiet or as_json or markdown) as display:
        display.stage_started(1, NAME, 1)
        done = compare_with_oracle(out, given, report=display.progress)
        display.stage_finished(NAME, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds)
    facts = read_facts(AgreementFacts, done.facts, str(done.path))
    if as_json:
        click.echo(json.dumps(facts.record(), indent=2))
    elif markdown:
        click.echo(agreement_markdown(facts), nl=False)
    else:
        by = f" and by {facts.judge}" if facts.judge else ""
        print_table(f"Agreement with the oracle, by rules{by} [95 % interval]", AGREEMENT_HEAD, agreement_table(facts))
