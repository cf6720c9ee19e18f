"""`solon chains`: convert the paper's chains of critiques and revisions to and from a run's tables."""

from __future__ import annotations

from pathlib import Path

import click

from solon.cli.options import NEW_FILE, PATH, RUN
from solon.cli.terminal import print_line


@click.group(
    epilog="""\b
Examples:
  solon chains import PALMS_SLMADISON.jsonl --output palms.parquet
  solon chains export runs/demo --output demo_SLMADISON.jsonl
"""
)
def chains() -> None:
    """Convert the paper's chains of critiques and revisions."""


@chains.command(
    "import",
    epilog="""\b
Examples:
  solon chains import PALMS_SLMADISON.jsonl --output palms.parquet
""",
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--output", required=True, type=NEW_FILE, help="The Parquet file to write.")
def import_(files: tuple[Path, ...], output: Path) -> None:
    """Read chains in the paper's form (*_SLMADISON.jsonl) into a table.

    The table has the columns of a run's 03-critique-revision and a row for each step. The texts pass the same checks.
    """
    from solon.constitution.formats.paper_chains import read_chains
    from solon.errors import InputError
    from solon.pipeline.chain_rows import rows_of_chains
    from solon.runs.outcome import count_outcomes
    from solon.runs.rows import RevisionRow
    from solon.runs.table import write_table

    if output.exists():
        raise InputError("the file exists", place=str(output), remedy="Name another with --output, or remove it")
    rows = []
    for file in files:
        read = read_chains(file)
        steps = rows_of_chains(read, critic=file.stem)
        outcomes = ", ".join(f"{name} {count}" for name, count in count_outcomes(row.outcome for row in steps).items())
        print_line(f"{file}: {len(read)} chains, {len(steps)} steps: {outcomes}")
        rows += steps
    write_table(output, rows, RevisionRow)
    print_line(f"Wrote {output}")


@chains.command(
    epilog="""\b
Examples:
  solon chains export runs/demo --output demo_SLMADISON.jsonl
"""
)
@RUN
@click.option("--output", required=True, type=NEW_FILE, help="The JSON Lines file to write.")
def export(run: Path, output: Path) -> None:
    """Write a run's chains in the paper's form, one on each line.

    The form has no place for chains with a failed step or without critiques. They are left out and counted.
    """
    from solon.constitution.formats.paper_chains import chain_line
    from solon.errors import InputError, RunError
    from solon.pipeline.chain_rows import chains_of_rows
    from solon.runs import RunDirectory
    from solon.runs.files import write_atomically
    from solon.runs.rows import RevisionRow
    from solon.stages.plan import CRITIQUE_REVISION

    if output.exists():
        raise InputError("the file exists", place=str(output), remedy="Name another with --output, or remove it")
    directory = RunDirectory.open(run)
    artefact = directory.finished(CRITIQUE_REVISION)
    if artefact is None:
        raise RunError("the run has no chains yet", place=str(run), remedy=f"Continue with: solon run {run}")
    directory.refuse_edits()  # a chain contains the requests of the principles that were used
    complete, left_out = chains_of_rows(artefact.rows(RevisionRow), directory.constitution, directory.recipe.name)
    write_atomically(output, "".join(chain_line(chain) for chain in complete))
    print_line(f"Wrote {len(complete)} chains to {output}; {left_out} with a failed step left out")
