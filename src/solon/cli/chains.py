"""`solon chains`: the paper's chains of critiques and revisions, to and from the tables of a run."""

from __future__ import annotations

from pathlib import Path

import click


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
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The Parquet file to write."
)
def import_(files: tuple[Path, ...], output: Path) -> None:
    """Read chains in the paper's form (*_SLMADISON.jsonl) into a table.

    The table has the columns of a run's 03-critique-revision, a row per step, and the texts pass the same checks.
    """
    from solon.cli.terminal import plain
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
        found = read_chains(file)
        made = rows_of_chains(found, critic=file.stem)
        outcomes = ", ".join(f"{name} {count}" for name, count in count_outcomes(row.outcome for row in made).items())
        click.echo(plain(f"{file}: {len(found)} chains, {len(made)} steps: {outcomes}", lines=False))
        rows += made
    write_table(output, rows, RevisionRow)
    click.echo(plain(f"Wrote {output}", lines=False))


@chains.command(
    epilog="""\b
Examples:
  solon chains export runs/demo --output demo_SLMADISON.jsonl
"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The JSON Lines file to write."
)
def export(run: Path, output: Path) -> None:
    """Write a run's chains in the paper's form, a chain per line.

    The form cannot hold chains with a failed step or without critiques. They are left out and counted.
    """
    from solon.cli.terminal import plain
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
        raise RunError("the run has no chains yet", place=str(run), remedy=f"Go on with: solon run {run}")
    directory.refuse_edits()  # a chain shows the requests of the principles that were used
    found, left_out = chains_of_rows(artefact.rows(RevisionRow), directory.constitution, directory.recipe.name)
    write_atomically(output, "".join(chain_line(chain) for chain in found))
    click.echo(plain(f"Wrote {len(found)} chains to {output}; {left_out} with a failed step left out", lines=False))
