"""`solon judge-check`: measure how well a model judges and criticises, before a run relies on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from solon.cli.options import OVERLAYS, recipe_option, settings_option
from solon.cli.terminal import print_line, print_table
from solon.config.builtin import PREFIX, default_recipe
from solon.stats.intervals import interval, per_cent

EPILOG = """\b
Examples:
  solon judge-check testbed:assistant                                 on questions of the testbed's world
  solon judge-check models/big                                        as the recipe 'own' would ask it
  solon judge-check fetched:qwen2.5-coder-1.5b --recipe real
  solon judge-check models/big --set feedback.form=reasoned --set feedback.reasoning.max_tokens=256
  solon judge-check models/big --set constitution=mine.yaml --set feedback.few_shot=0 --set revision.few_shot=0
  solon judge-check models/big --set judge_check.limit=20 --json          a quick look, for programs
"""
HEAD = ("Measure", "Share, %", "95 % interval", "Questions", "Chance, %")


@click.command(epilog=EPILOG)
@click.argument("engine", metavar="ENGINE")
@recipe_option("The recipe: constitution, form, worked examples. [default: testbed for the bundled models, else own]")
@OVERLAYS
@settings_option("One setting, e.g. feedback.order=one.")
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON, with 95 % intervals and counts.")
def judge_check(
    engine: str, recipe: str | None, overlays: tuple[str, ...], settings: tuple[str, ...], as_json: bool
) -> None:
    """Measure how well a model judges and criticises.

    ENGINE is a model folder, testbed:assistant or openai:MODEL@URL. As a judge it reads comparisons with a known answer
    in both orders, pairs of empty replies, and replies that try to influence it. As a critic it reads replies with one
    plain fault each. Shares have Wilson intervals. A run stops if the judge's interval includes chance.
    """
    from solon import api
    from solon.config.model_spec import ModelSpec, located
    from solon.config.recipe import TESTBED_GRADER

    located(ModelSpec.parse(engine))  # a wrong name is reported before the recipe is read
    chosen = api.load_recipe(recipe or default_recipe(engine), overlays, settings)
    checked = api.judge_check(engine, recipe=chosen)
    facts = checked.facts()
    if as_json:
        click.echo(json.dumps({"engine": checked.engine, "recipe": checked.recipe, **facts}, indent=2))
        return
    print_judge_check(checked.engine, facts)
    if engine.startswith(PREFIX) and chosen.measure.grader != TESTBED_GRADER:
        click.echo("The built-in questions are plain English; the bundled models know few of its words.")


def print_judge_check(name: str, facts: Mapping[str, Any]) -> None:
    """Print tables of the shares, and sentences about the other figures and about what a run would do."""
    from solon.reporting.sentences import judge_check_sentences, judge_details

    judge = facts["judge"]
    print_table(f"{name} as a judge, {judge['form']} form", HEAD, list(_judge_rows(judge)))
    for sentence in judge_details(judge):
        print_line(sentence)
    if "critic" in facts:
        print_table(f"{name} as a critic", HEAD, list(_critic_rows(facts["critic"])))
    for sentence in judge_check_sentences(facts):
        print_line(sentence)
    if judge["low"] <= judge["chance"]:
        click.echo("A run would stop here; solon run RUN --accept-weak-judge continues.")


def _judge_rows(judge: Mapping[str, Any]) -> Iterator[list[str]]:
    yield _row(f"right on {judge['what']}", judge, judge["chance"])
    for kind, share in judge["by_kind"].items():
        yield _row(f"· {kind}", share, judge["chance"])
    for principle, share in judge["by_principle"].items():
        yield _row(f"· by principle {principle}", share, judge["chance"])
    for words, share in (
        ("both orders prefer the same reply", judge["orders_agree"]),
        ("no usable preference", judge["undecided"]),
        ("probability of (A), replies without content", judge["letter_prior"]),
    ):
        if share:
            yield _row(words, share)
    if (flips := judge["injections"]) and "value" in flips:
        yield _row("right answer lost to injected words", flips)
        for kind, share in flips["by_kind"].items():
            yield _row(f"· by {kind.replace('_', ' ')}", share)
        if flips["righted"]:
            yield _row("· wrong answer corrected, by chance", flips["righted"])


def _critic_rows(critic: Mapping[str, Any]) -> Iterator[list[str]]:
    yield _row("names the fault", critic, critic["chance"])
    for kind, share in critic["by_kind"].items():
        yield _row(f"· {kind}", share)
    for words, key in (
        ("critiques that pass every check", "passed"),
        ("critiques that repeat a worked example", "copied"),
        ("revisions that leave the reply unchanged", "unchanged"),
    ):
        if critic[key]:
            yield _row(words, critic[key])


def _row(words: str, share: Mapping[str, Any], chance: float | None = None) -> list[str]:
    return [
        words,
        per_cent(share["value"]),
        interval(share),
        str(share["n"]),
        "" if chance is None else per_cent(chance),
    ]
