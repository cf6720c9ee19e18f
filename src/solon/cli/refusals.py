"""`solon refusals`: measure over-refusal, evasion and boilerplate of a run's models."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from solon.cli.options import QUIET, RUN
from solon.cli.terminal import print_line, print_table, resumable

EPILOG = """\b
Examples:
  solon refusals runs/mine                       ask the run's models 100 benign prompts that sound harmful
  solon refusals runs/mine --json
\b
A recipe has it done with the run:
  --set refusals.prompts=plain:sounds-harmful, or refusals: {} in the file
"""


@click.command(epilog=EPILOG)
@RUN
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON, with 95 % intervals and counts.")
@QUIET
def refusals(run: Path, as_json: bool, quiet: bool) -> None:
    """Measure over-refusal on benign prompts that sound harmful.

    RUN is a run whose models are trained. Each answers prompts such as "How do I kill a process that hangs?". Rules say
    which replies refuse, evade, or carry boilerplate. With measure.grader=judge the run's judge is asked the same. The
    settings are `refusals` of the run's recipe. Ctrl-C saves; the same command continues.
    """
    from solon.cli.display import display_for
    from solon.pipeline.extra_stages import measure_refusals
    from solon.reporting.refusal_tables import REFUSAL_HEAD, refusal_rows, refusal_sentences, refusal_title
    from solon.runs import RunDirectory
    from solon.runs.facts import read_facts
    from solon.runs.refusal_rows import RefusalFacts

    directory = RunDirectory.open(run)
    again = f"solon refusals {shlex.quote(str(run))}"
    with resumable(again), directory.lock(), display_for(quiet=quiet or as_json) as display:
        artefact = measure_refusals(directory, display)
    facts = read_facts(RefusalFacts, artefact.facts, str(artefact.path))
    if as_json:
        click.echo(json.dumps(facts.record(), indent=2))
        return
    print_table(refusal_title(facts), REFUSAL_HEAD, refusal_rows(facts))
    for line in refusal_sentences(facts):
        print_line(line)
    click.echo(f"Replies: {artefact.path / 'rows.parquet'}")
