"""`solon status`, `solon results` and `solon report`: print what a run has, finished or not."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from solon.cli.options import NEW_FILE, PATH, RUN
from solon.cli.terminal import print_line, print_table

if TYPE_CHECKING:
    from solon.evals.measures import Measure
    from solon.runs import RunDirectory
    from solon.runs.lock import SessionRecord


STATUS_HEAD = ("Stage", "State", "Size", "Outcomes", "Time")


@click.command(
    epilog="""\b
Examples:
  solon status runs/demo
"""
)
@RUN
def status(run: Path) -> None:
    """Show a run's progress.

    Lists every stage with its rows (steps, if it trains a model), their outcomes and the time it took. Says whether a
    process is working on the run, how far its stage is, its rate and the time left, and how the last one ended. A
    reused stage shows the time of the run it comes from.
    """
    from solon.cli.display import amount_done, clock, position
    from solon.reporting.results import results
    from solon.runs import RunDirectory, owner_of
    from solon.runs.lock import last_session
    from solon.runs.progress import latest_progress, saved_progress
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
            state = "reused" if name in adopted else "finished"
            size = counted(name, facts["rows"], kinds.get(name))
            rows.append([f"{number} {name}", state, size, outcomes, clock(facts["seconds"])])
        else:
            folder = directory.path / f"{number:02d}-{name}"
            saved = saved_progress(folder)
            size = "" if saved is None else amount_done(saved.progress)
            rows.append([f"{number} {name}", "begun" if folder.is_dir() else "not begun", size, "", ""])
    print_table(f"Run {directory.path}, recipe '{directory.recipe.name}'", STATUS_HEAD, rows)
    for remark in figures.get("remarks", ()):
        print_line(remark)
    owner = owner_of(directory.path)
    if owner is not None:
        print_line(f"Working on it: {owner}")
        if (last := latest_progress(directory.path)) is not None:
            age = clock(max(0.0, time.time() - last.at))
            print_line(f"{last.progress.stage}: {position(last.progress)} (said {age} ago)")
    elif figures["unfinished"]:
        ended = how_it_ended(last_session(directory.path))
        print_line(f"No process is working on it. {ended}Continue with: solon run {directory.path}")


def how_it_ended(session: SessionRecord | None) -> str:
    """A sentence about the last session if it did not finish its work; else an empty text."""
    from solon.runs.lock import End

    if session is None or session.end is End.DONE:
        return ""
    if session.end is End.STOPPED:
        return "The last session was stopped by Ctrl-C or a signal. "
    if session.end is End.FAILED:
        return f"The last session failed: {session.why.rstrip('.')}. "
    return "The last session was interrupted (it recorded no end: it was killed, or the machine stopped). "


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
    harmful prompts, helpful on held-out benign ones. Below them: how good the labels are, if there are any.
    """
    from solon import api

    opened = api.open_run(run)
    if as_json:
        click.echo(json.dumps(opened.results(), indent=2))
    else:
        print_results(opened.directory)


@click.command(
    epilog="""\b
Examples:
  solon report runs/demo                         writes runs/demo/report.html
  solon report runs/demo --output demo.html
  solon report runs/demo --against runs/other    writes runs/demo/report-against-other.html
"""
)
@RUN
@click.option("--against", type=PATH, metavar="RUN", help="Show this run and RUN side by side.")
@click.option("--output", type=NEW_FILE, help="The file to write. [default: report.html in RUN]")
def report(run: Path, against: Path | None, output: Path | None) -> None:
    """Write a run's HTML report.

    The report has figures, tables, the constitution with its draws, and all samples to browse. It is one file; a run
    with many samples has a folder of them beside it, which has to stay there. It loads nothing else. It can be written
    at any time and leaves out what is not finished. With --against it shows how two runs differ.
    """
    from solon import api

    if output is not None and not output.name:
        raise click.BadParameter("it needs the name of a file, such as report.html", param_hint="--output")
    if against is None:
        click.echo(f"Report: {api.report(run, output)}")
        return
    from solon.reporting.side_by_side import write_side_by_side

    page = write_side_by_side(api.open_run(run).directory, api.open_run(against).directory, output)
    click.echo(f"Report: {page}")


def print_results(directory: RunDirectory) -> None:
    """Print the measures of every model as a table, then sentences about critic, judge, labels and training."""
    from solon.reporting.judged_section import COLUMNS, compared_models, judged_by, reply_judge_sentences
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
        print_line(remark)
    judge_check, quality = figures.get("judge_check", {}), label_quality_in(figures)
    if figures["models"]:
        _print_models(figures["models"], judged_by(figures))
    if (compared := compared_models(figures)) is not None:
        print_table(
            f"{compared.title}, [95 % interval]{judged_by(figures)}", COLUMNS, [each.cells() for each in compared.lines]
        )
    judged = (
        *reply_judge_sentences(figures),
        *judge_check_sentences(judge_check),
        *judge_details(judge_check.get("judge") or {}),
        *(quality_sentences(quality) if quality else ()),
    )
    trained = reinforcement_sentences(figures.get("reinforcement", {}))
    for sentence in (*judged, *trained, *snapshot_sentences(figures.get("snapshots", {}))):
        print_line(sentence)
    if refused := figures.get("refusals"):
        _print_refusals(refused)
    _print_attacks(figures.get("attacks", {}))
    if not figures["models"]:
        missing = "No model is measured yet." if judged else "Nothing is measured yet."
        click.echo(f"{missing} Continue with: solon run {directory.path}")


def _print_attacks(attacks: Mapping[str, Mapping[str, Any]]) -> None:
    from solon.reporting.attack_section import ROUND_HEAD, cells_of, title_of
    from solon.runs.attack_facts import AttackFacts
    from solon.runs.facts import read_facts
    from solon.stages.attack_figures import summary_lines

    for name, found in attacks.items():
        facts = read_facts(AttackFacts, found, name)
        print_table(title_of(facts), ROUND_HEAD, [cells_of(each) for each in facts.rounds])
        for line in summary_lines(facts):
            print_line(line)


def _print_models(models: Mapping[str, Mapping[str, Any]], by: str) -> None:
    from solon.evals.measures import measures

    known = measures()
    graded = [each for each in known if each.graded and any(each.name in taken for taken in models.values())]
    form = [each for each in known if not each.graded]
    if graded:
        _print_measures(f"Share of replies to held-out prompts, % [95 % interval]{by}", graded, models)
    if by or not graded:
        _print_measures("Form of the replies to held-out prompts (no grader)", form, models)


def _print_refusals(figures: Mapping[str, Any]) -> None:
    from solon.reporting.refusal_tables import REFUSAL_HEAD, refusal_rows, refusal_sentences, refusal_title
    from solon.runs.facts import read_facts
    from solon.runs.refusal_rows import RefusalFacts

    facts = read_facts(RefusalFacts, figures)
    print_table(refusal_title(facts), REFUSAL_HEAD, refusal_rows(facts))
    for line in refusal_sentences(facts):
        print_line(line)


def _print_measures(title: str, columns: Sequence[Measure], models: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [[model, *(_cell(each, taken.get(each.name)) for each in columns)] for model, taken in models.items()]
    print_table(title, ("Model", *(each.name for each in columns)), rows)


def _cell(measure: Measure, figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    value, interval = measure.shown(figure)
    return f"{value} [{interval}]"
