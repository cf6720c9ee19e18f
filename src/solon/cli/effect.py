"""`solon effect`: what an edit of the constitution changed, from two runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import NEW_FILE, PATH
from solon.cli.terminal import clip, print_line, print_table
from solon.stats.intervals import per_cent

if TYPE_CHECKING:
    from solon.reporting.effect.behaviour_change import MeasureChange, WinRateChange
    from solon.reporting.effect.edit_effect import EditEffect
    from solon.reporting.effect.row_changes import PrincipleShift

EPILOG = """\b
Examples:
  solon effect runs/demo runs/v2                      what the edit changed; writes runs/v2/effect.html
  solon effect runs/demo runs/v2 --model sl-cai       the replies of another model that changed most
  solon effect runs/demo runs/v2 --json
"""
REPLIES = 5
"""Replies that are printed; the page and JSON have twenty."""


@click.command(epilog=EPILOG)
@click.argument("old", type=PATH, metavar="OLD_RUN")
@click.argument("new", type=PATH, metavar="NEW_RUN")
@click.option("--model", metavar="NAME", help="Whose changed replies to list. [default: the final policy]")
@click.option("--output", type=NEW_FILE, help="The page to write. [default: NEW_RUN/effect.html]")
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON; writes no page unless --output names it.")
def effect(old: Path, new: Path, model: str | None, output: Path | None, as_json: bool) -> None:
    """Show what an edit of the constitution changed.

    OLD_RUN and NEW_RUN differ in their constitution only, as after
    'solon run NEW_RUN --reuse OLD_RUN --set constitution=FILE'. The command prints the edit, what the models reply to
    the same held-out prompts with paired 95 % intervals, which draws and labels changed and by which principle, the
    replies that changed most, and what the new run cost against a run from nothing. It compares what both runs have
    finished.
    """
    from solon import api
    from solon.reporting.effect.effect_page import write_effect
    from solon.runs.records import to_record

    found = api.effect(old, new, model=model)
    if as_json:
        click.echo(json.dumps(to_record(found), indent=2))
        if output is not None:
            write_effect(found, output)
        return
    _print(found)
    click.echo(f"Page: {write_effect(found, output)}")


def _print(found: EditEffect) -> None:
    from solon.reporting.effect.edit_effect import headline

    for remark in (*found.remarks, *found.cost.remarks):
        print_line(remark)
    for sentence in headline(found):
        print_line(sentence)
    _print_behaviour(found)
    if found.revisions is not None:
        _print_shifts("Revisions by principle", found.revisions.by_principle)
    for labels in found.labels:
        _print_shifts(f"Labels by principle, {labels.stage}", labels.by_principle)
    _print_replies(found)
    rows = [
        [
            each.stage,
            each.state.value,
            f"{each.seconds_from_nothing:.1f}",
            f"{each.seconds:.1f}",
            _of(each.asked, each.questions),
        ]
        for each in found.cost.stages
    ]
    click.echo()
    print_table("Cost by stage", ("Stage", "New run", "Seconds from nothing", "Seconds", "Questions asked"), rows)


def _print_behaviour(found: EditEffect) -> None:
    behaviour = found.behaviour
    if behaviour is None:
        return
    moved = {each.model for each in behaviour.models if each.changed}
    rows = [_row(f"{each.model}, {each.measure}", each) for each in behaviour.measures if each.model in moved]
    rows += [
        _row(f"{each.model}, {each.measure}, {each.topic}", each)
        for each in behaviour.topics
        if each.difference.first_only or each.difference.second_only
    ]
    rows += [_row(f"{each.model} against {each.baseline}, {each.prompts.value}", each) for each in behaviour.win_rates]
    if rows:
        click.echo()
        head = ("Model, replies, topic", "Before, %", "After, %", "Difference, paired", "Prompts")
        print_table("Replies to held-out prompts, of models with other replies", head, rows)


def _row(name: str, change: MeasureChange | WinRateChange) -> list[str]:
    from solon.reporting.effect.edit_effect import points

    values = per_cent(change.old.value), per_cent(change.new.value)
    return [name, *values, points(change.difference), str(change.difference.n)]


def _print_shifts(title: str, shifts: Sequence[PrincipleShift]) -> None:
    if not shifts:
        return
    rows = [
        [
            f"{each.id} ({each.edit.value})" if each.edit else each.id,
            f"{each.draws_old} -> {each.draws_new}",
            str(each.changed),
            str(each.flips),
            "; ".join(f"{count} {cause}" for cause, count in each.causes.items()),
        ]
        for each in shifts
    ]
    click.echo()
    print_table(title, ("Principle", "Draws", "Other rows", "Flips", "Because"), rows)


def _print_replies(found: EditEffect) -> None:
    if found.replies is None or not found.replies.most:
        return
    click.echo()
    print_line(
        f"Replies of {found.replies.of} that changed most ({found.replies.changed} of {found.replies.compared} "
        f"changed, {found.replies.labels_changed} in their labels; by labels, then by words):"
    )
    for reply in found.replies.most[:REPLIES]:
        print_line(f"  {clip(reply.prompt.turns[-1].content, 110)}  [{reply.row}]")
        print_line(f"    - {', '.join(reply.labels_old) or 'no label'}: {clip(reply.old, 200)}")
        print_line(f"    + {', '.join(reply.labels_new) or 'no label'}: {clip(reply.new, 200)}")


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,}" if total else "-"
