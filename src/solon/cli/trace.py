"""`solon trace`: from a row back to all that it is made of, from a principle forward to all that it changed."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import RUN
from solon.cli.terminal import plain, print_line

if TYPE_CHECKING:
    from solon.reporting.tracing.find_trace import PrincipleOutcome, PrincipleTrace
    from solon.reporting.tracing.trace_parts import RowTrace, StageRecord, TracePart

EPILOG = """\b
Examples:
  solon trace runs/demo general-harm                  what a principle changed, by its id
  solon trace runs/demo 3                             or by its number in its list
  solon trace runs/demo 8f7eb2f051                    all that was made of a prompt, by its row id
  solon trace runs/demo ai-feedback/8f7eb2f051/1      one row, and back from it
  solon trace runs/demo sl-cai/8f7eb2f051/2 --json
"""
ROWS = 5
"""Addresses of a principle's rows that are printed; JSON has all of them."""


@click.command(epilog=EPILOG)
@RUN
@click.argument("identifier", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The whole trace as JSON.")
def trace(run: Path, identifier: str, as_json: bool) -> None:
    """Trace a row back to its origins, or a principle forward.

    ID is a row id of any table, or its first six digits: the command prints all that was made of this prompt. With
    STAGE/ROW_ID/NUMBER it prints one reply, revision, label or training example, and back from it revision, critique,
    principle, prompt, seeds, models, and the version of the code of each stage. NUMBER is a step, sample, pair or
    model. With the id or number of a principle it prints what the principle changed: draws, replies, labels, and
    training examples.
    """
    from solon import api
    from solon.reporting.tracing.trace_parts import RowTrace
    from solon.runs.records import to_record

    found = api.open_run(run).trace(identifier)
    if as_json:
        click.echo(json.dumps(to_record(found), indent=2))
    elif isinstance(found, RowTrace):
        _print_row(found)
    else:
        _print_principles(found)


def _print_row(found: RowTrace) -> None:
    for remark in found.remarks:
        print_line(remark)
    for part in found.parts:
        _print_part(part)
    _heading("Stages", "")
    for record in found.stages:
        _print_stage(record)


def _print_part(part: TracePart) -> None:
    _heading(part.title, part.address)
    if part.text:
        _print_text(part.text)
    _print_facts([(fact.name, fact.value) for fact in part.facts])
    if part.made_of:
        _print_facts([("made of", ", ".join(part.made_of))])


def _print_stage(record: StageRecord) -> None:
    reads = [(f"reads {name}", digest) for name, digest in record.reads.items()]
    versions = ", ".join(f"{name} {number}" for name, number in record.code.items())
    print_line(f"  {record.number:02d} {record.stage}, hash {record.hash}")
    known = [
        ("code", f"Solon {record.solon}" + (f"; {versions}" if versions else "")),
        ("run seed", "" if record.seed is None else str(record.seed)),
        *reads,
        ("made on", "; ".join(record.made_on)),
        ("reused from", record.adopted_from or ""),
    ]
    _print_facts(known, indent=5)


def _print_principles(found: PrincipleTrace) -> None:
    for remark in found.remarks:
        print_line(remark)
    for outcome in found.outcomes:
        _print_outcome(outcome)
    if found.unfinished:
        print_line(f"Not finished, so nothing is known of them: {', '.join(found.unfinished)}.")


def _print_outcome(outcome: PrincipleOutcome) -> None:
    from solon.reporting.tracing.trace_sentences import outcome_sentences

    _print_part(outcome.principle.part())
    for sentence in outcome_sentences(outcome):
        _print_text(sentence)
    preference = outcome.preference
    reach = outcome.revision or preference
    listed = [("its rows", reach.rows if reach else ())]
    if preference is not None:
        listed += [("label flips", preference.flips), ("flips of its axis", preference.axis_flips or ())]
    listed += [(f"examples of {each.stage}", each.rows) for each in outcome.examples]
    _print_facts([(name, _first(rows)) for name, rows in listed])


def _first(rows: Sequence[str]) -> str:
    """The first addresses, and how many more there are."""
    more = len(rows) - ROWS
    return ", ".join(rows[:ROWS]) + (f", and {more:,} more (--json lists them)" if more > 0 else "")


def _heading(title: str, address: str) -> None:
    click.echo()
    click.echo(
        click.style(plain(title, lines=False), bold=True) + (f"  {plain(address, lines=False)}" if address else "")
    )


def _print_text(text: str, indent: int = 2) -> None:
    """Text in lines as wide as the terminal, without control characters."""
    space = " " * indent
    for line in plain(text).splitlines() or [""]:
        click.echo(textwrap.fill(line, _width(), initial_indent=space, subsequent_indent=space, break_on_hyphens=False))


def _print_facts(facts: Sequence[tuple[str, str]], indent: int = 2) -> None:
    """Names and values, the values indented under each other where they are long; what has no value is left out."""
    for name, value in facts:
        if value:
            click.echo(
                textwrap.fill(
                    f"{plain(name, lines=False)}: {plain(value, lines=False)}",
                    _width(),
                    initial_indent=" " * indent,
                    subsequent_indent=" " * (indent + 4),
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            )


def _width() -> int:
    return max(40, min(120, shutil.get_terminal_size((100, 24)).columns))
