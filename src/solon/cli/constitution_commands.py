"""`solon constitution`: create, check, show, compare and convert constitutions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.constitution_check import check, new
from solon.cli.options import NEW_FILE, NEW_FOLDER, PATH
from solon.cli.show import print_constitution
from solon.cli.terminal import print_line, print_table

if TYPE_CHECKING:
    from solon.constitution.constitution import Constitution
    from solon.constitution.formats.parts import Parts


@click.group(
    epilog="""\b
Examples:
  solon constitution new my-rules.yaml
  solon constitution check my-rules.yaml --recipe own
  solon constitution diff old.yaml new.yaml --run runs/demo
"""
)
def constitution() -> None:
    """Create, check, show, compare and convert constitutions."""


constitution.add_command(check)
constitution.add_command(new)


@constitution.command(
    epilog="""\b
Examples:
  solon constitution show testbed
  solon constitution show my-rules.yaml
"""
)
@click.argument("name", metavar="NAME_OR_FILE")
def show(name: str) -> None:
    """Print the principles of a constitution."""
    from solon import api

    print_constitution(api.load_constitution(name))


@constitution.command(
    epilog="""\b
Examples:
  solon constitution diff old.yaml new.yaml                    what was edited
  solon constitution diff testbed new.yaml --run runs/demo     and what a run would do again
"""
)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--run", type=PATH, help="A run made with OLD: show how many calls and tokens NEW costs.")
def diff(old: str, new: str, run: Path | None) -> None:
    """Print what differs between two constitutions, and with --run what the edit costs.

    To run NEW and reuse what stays the same: solon run NEWRUN --reuse RUN --set constitution=NEW
    """
    from solon import api
    from solon.constitution.diff import EditKind, changes

    before, after = api.load_constitution(old), api.load_constitution(new)
    edits = changes(before, after)
    if not edits:
        click.echo("The two constitutions are the same.")
    for change in edits:
        print_line(f"{change.section} {change.id}".strip() + f": {change.edit.value}")
        for name, (was, now) in change.fields.items():
            if change.edit is not EditKind.ADDED:
                print_line(f"  - {name}: {was}")
            if change.edit is not EditKind.REMOVED:
                print_line(f"  + {name}: {now}")
    if run is not None:
        _print_impact(run, old, before, new, after)


def _print_impact(folder: Path, old: str, before: Constitution, new: str, after: Constitution) -> None:
    from solon.cli.display import clock
    from solon.errors import RunError
    from solon.pipeline.impact import impact_of
    from solon.runs import RunDirectory
    from solon.stats.intervals import percent

    run = RunDirectory.open(folder)
    if run.constitution.hash != before.hash:
        own = f"solon constitution diff {folder / 'constitution.yaml'} {new} --run {folder}"
        raise RunError(
            f"the constitution of the run is not {old}",
            place=str(folder),
            remedy=f"Compare with the run's own: {own}",
        )
    impact = impact_of(run, after)
    rows = []
    for each in impact.questions:
        share = percent(each.again / each.asked) if each.asked else "-"
        tokens = ["?" if n is None else f"{n:,}" for n in (each.prompt_tokens, each.completion_tokens)]
        rows.append([f"{each.stage}, {each.what}", f"{each.asked:,}", f"{each.again:,}", share, *tokens])
    click.echo()
    print_table(f"Model calls that {folder} would make again, at most", IMPACT_HEAD, rows)
    for stage, seconds in impact.trained.items():
        click.echo(f"Trained again: {stage}, which took {clock(seconds)}")
    for stage in impact.unfinished:
        click.echo(f"Not estimated: {stage}, which the run has not finished")
    print_line(f"To run only that: solon run NEWRUN --reuse {folder} --set constitution={new}")


IMPACT_HEAD = ("Question", "Calls", "Again", "Share", "Prompt tokens", "Completion tokens")


@constitution.command(
    "import",
    epilog="""\b
Examples:
  solon constitution import swarm.json --complete-with harmlessness --output house.yaml
  solon constitution import prompts/*.json --name paper --output paper.yaml
""",
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--output", required=True, type=NEW_FILE, help="The YAML file to write.")
@click.option("--name", metavar="NAME", help="The constitution's name. [default: the name of the output file]")
@click.option(
    "--complete-with",
    "other",
    metavar="NAME_OR_FILE",
    help="Take principles of a kind that is missing in FILEs from this constitution.",
)
def import_(files: tuple[Path, ...], output: Path, name: str | None, other: str | None) -> None:
    """Convert other systems' FILEs into a constitution.

    Reads the paper's JSON files (critique and revision instructions, preference instructions, worked examples),
    llm-swarm's constitutions and LangChain's principles. Several files make one constitution. The command prints what
    it cannot convert.
    """
    from solon import api
    from solon.constitution.formats.catalogue import read_parts
    from solon.constitution.formats.parts import join
    from solon.constitution.writer import write_constitution
    from solon.errors import InputError
    from solon.runs.files import write_atomically

    if output.exists():
        raise InputError("the file exists", place=str(output), remedy="Name another with --output, or remove it")
    read: list[tuple[Path, Parts]] = []
    for file in files:
        kind, parts = read_parts(file)
        print_line(f"{file}: {kind}: {parts.counts()}")
        for loss in parts.losses:
            print_line(f"  not kept: {loss}")
        read.append((file, parts))
    joined, notes = join(read, name or output.stem, api.load_constitution(other) if other else None)
    for line in notes:
        print_line(line)
    write_atomically(output, write_constitution(joined))
    print_line(f"Wrote {output}. Print it with: solon constitution show {output}")


@constitution.command(
    epilog="""\b
Examples:
  solon constitution export harmlessness --format llm-swarm --output exported
  solon constitution export house.yaml --format paper --output exported/prompts
  solon constitution export testbed --format yaml --output rules
"""
)
@click.argument("name", metavar="NAME_OR_FILE")
@click.option(
    "--format",
    "format_",
    required=True,
    metavar="FORMAT",
    help="yaml (Solon's own), paper, llm-swarm, langchain, or a format that another package registers.",
)
@click.option("--output", required=True, type=NEW_FOLDER, help="The folder to write to.")
def export(name: str, format_: str, output: Path) -> None:
    """Write a constitution in another system's format, or as YAML with its comments.

    The command prints what the format cannot express. It overwrites no file.
    """
    from solon import api
    from solon.config.builtin import constitution_path
    from solon.constitution.formats.catalogue import export_formats, write_constitution_as
    from solon.errors import InputError
    from solon.runs.files import reporting_write_errors, write_atomically

    known = ("yaml", *export_formats())
    if format_ not in known:
        raise click.BadParameter(f"'{format_}' is not one of {', '.join(known)}", param_hint="--format")
    source, loaded = constitution_path(name), api.load_constitution(name)
    files: Mapping[str, str] = {f"{source.stem}.yaml": source.read_text(encoding="utf-8-sig")}
    losses: list[str] = []
    if format_ != "yaml":
        files, losses = write_constitution_as(format_, loaded)
    for file in files:
        if (output / file).exists():
            raise InputError("the file exists", place=str(output / file), remedy="Name another folder with --output")
    with reporting_write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        write_atomically(output / file, content)
        print_line(f"Wrote {output / file}")
    for loss in losses:
        print_line(f"  not kept: {loss}")
