"""`solon status`, `solon results` and `solon report`: three ways to look at a run, finished or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from solon.evals.measures import Measure
    from solon.runs import RunDirectory
    from solon.runs.lock import SessionRecord

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command(
    epilog="""\b
Examples:
  solon status runs/demo
"""
)
@RUN
def status(run: Path) -> None:
    """Show a run's progress.

    Lists every stage with its rows (steps, where a model is trained), their outcomes and the time it took. Says whether
    a process is at work, and how the last one ended. The time of a reused stage is that of the run it comes from.
    """
    from solon.cli.display import clock
    from solon.cli.terminal import plain, print_table
    from solon.reporting.results import results
    from solon.runs import RunDirectory, owner_of
    from solon.runs.lock import last_session
    from solon.stages.plan import counted, names_of, plugins_of

    directory = RunDirectory.open(run)
    figures = results(directory)
    stages = figures["stages"]
    damaged = directory.damaged()
    adopted = {artefact.name for artefact in directory.artefacts() if artefact.manifest.adopted_from}
    kinds = {stage.name: stage.kind for stage in plugins_of(directory.recipe)}
    rows = []
    for number, name in enumerate(names_of(directory.recipe), start=1):
        if name in damaged:
            rows.append([f"{number} {name}", "damaged", "", "", ""])
        elif name in stages:
            facts = stages[name]
            outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in facts["outcomes"].items())
            state = "taken over" if name in adopted else "finished"
            holds = counted(name, facts["rows"], kinds.get(name))
            rows.append([f"{number} {name}", state, holds, outcomes, clock(facts["seconds"])])
        else:
            begun = (directory.path / f"{number:02d}-{name}").is_dir()
            rows.append([f"{number} {name}", "begun" if begun else "to come", "", "", ""])
    print_table(f"Run {directory.path}, recipe '{directory.recipe.name}'", STATUS_HEAD, rows)
    for remark in figures.get("remarks", ()):
        click.echo(plain(remark, lines=False))
    owner = owner_of(directory.path)
    if owner is not None:
        click.echo(plain(f"At work: {owner}", lines=False))
    elif figures["unfinished"]:
        ended = plain(how_it_ended(last_session(directory.path)), lines=False)
        click.echo(f"Nobody is at work. {ended}Go on with: solon run {directory.path}")


def how_it_ended(session: SessionRecord | None) -> str:
    """A sentence on the session before, where it did not do what it was asked; else nothing."""
    from solon.runs.lock import End

    if session is None or session.end is End.DONE:
        return ""
    if session.end is End.STOPPED:
        return "The last session was interrupted, as it was asked to stop. "
    if session.end is End.FAILED:
        return f"The last session failed: {session.why.rstrip('.')}. "
    return "The last session was interrupted (no end recorded: it was killed, or the machine stopped). "


STATUS_HEAD = ("Stage", "State", "Holds", "Outcomes", "Time")


@click.command(
    epilog="""\b
Examples:
  solon results runs/demo                                    a table
  solon results runs/demo --json                             every figure, for programs
  solon results runs/demo --json | jq '.models["rl-cai"].harmful'
"""
)
@RUN
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON, with 95 % intervals and counts.")
def results(run: Path, as_json: bool) -> None:
    """Print the measures of a run.

    Shares of replies by model, with 95 % intervals: harmful, evasive, objecting, preachy and garbled on held-out
    harmful prompts, helpful on held-out benign ones. Below them: how good the labels are, once there are labels.
    """
    from solon import api

    found = api.open_run(run)
    if as_json:
        click.echo(json.dumps(found.results(), indent=2))
    else:
        print_results(found.directory)


@click.command(
    epilog="""\b
Examples:
  solon report runs/demo                         writes runs/demo/report.html
  solon report runs/demo --output demo.html
"""
)
@RUN
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write. [default: RUN/report.html]"
)
def report(run: Path, output: Path | None) -> None:
    """Write a run's HTML report.

    One file that loads nothing from anywhere: figures, tables, the constitution with its draws, and samples to browse.
    It can be written at any time; what is not finished is left out.
    """
    from solon import api

    if output is not None and not output.name:
        raise click.BadParameter("a file is needed, such as report.html", param_hint="--output")
    click.echo(f"Report: {api.report(run, output)}")


def print_results(directory: RunDirectory) -> None:
    """The measures of every model as a table, and how good critic, judge and labels are, in words."""
    from solon.cli.terminal import plain
    from solon.reporting.label_section import label_quality_in, quality_sentences
    from solon.reporting.results import results as results_of
    from solon.reporting.sentences import (
        judge_check_sentences,
        judge_details,
        reinforcement_sentences,
        snapshot_sentences,
    )

    figures = results_of(directory)
    for remark in figures.get("remarks", ()):
        click.echo(plain(remark, lines=False))
    judge_check, quality = figures.get("judge_check", {}), label_quality_in(figures)
    if figures["models"]:
        _print_models(figures["models"])
    told = (
        *judge_check_sentences(judge_check),
        *judge_details(judge_check.get("judge") or {}),
        *(quality_sentences(quality) if quality else ()),
    )
    trained = reinforcement_sentences(figures.get("reinforcement", {}))
    for sentence in (*told, *trained, *snapshot_sentences(figures.get("snapshots", {}))):
        click.echo(plain(sentence, lines=False))
    if not figures["models"]:
        yet = "No model is measured yet." if told else "Nothing is measured yet."
        click.echo(f"{yet} Go on with: solon run {directory.path}")


def _print_models(models: Mapping[str, Mapping[str, Any]]) -> None:
    from solon.cli.terminal import print_table
    from solon.evals.measures import measures

    known = measures()
    graded = [each for each in known if each.graded and any(each.name in taken for taken in models.values())]
    columns = graded or [each for each in known if not each.graded]
    rows = [[model, *(_cell(each, taken.get(each.name)) for each in columns)] for model, taken in models.items()]
    title = "Share of replies to held-out prompts, % [95 % interval]"
    form = "Form of the replies to held-out prompts (no grader)"
    print_table(title if graded else form, ("Model", *(each.name for each in columns)), rows)


def _cell(measure: Measure, figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    value, interval = measure.shown(figure)
    return f"{value} [{interval}]"
