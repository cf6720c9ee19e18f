"""What the report says: a run directory in, plain values and finished figures out.

The template only lays out what stands here. Every sentence is made from a figure with its interval, and says no more
than the interval allows; a stage that has not finished, or a figure that was never taken, leaves its part of the page
out. Nothing here measures: numbers come from `solon.reporting.results` and from the stages' tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.config.recipe import Method
from solon.constitution.constitution import Constitution
from solon.evals.grading import BENIGN_PROMPT_MEASURES, HARMFUL_PROMPT_MEASURES
from solon.reporting import charts, samples
from solon.reporting.drawn_principles import DrawnPrinciple, drawn_for_preference, drawn_for_revision
from solon.reporting.label_section import LabelQuality, quality_of
from solon.reporting.policy import PolicyFigure, policy_figures
from solon.reporting.results import results
from solon.reporting.sentences import Figures, headline, is_figure, judge_check_details, judge_sentences
from solon.reporting.share_figures import by_group
from solon.runs import Artefact, Row, RunDirectory
from solon.runs.rows import PromptKind
from solon.stages import registry as names
from solon.stats.intervals import interval, percent


@dataclass(frozen=True, slots=True)
class MeasureCell:
    """One cell of the table of measures."""

    figure: Figures
    shown: str
    interval: str
    bar: Markup | None


@dataclass(frozen=True, slots=True)
class Table:
    """Measures by model; `columns` are (measure, what it is taken over)."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[MeasureCell | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class StageLine:
    """One finished stage."""

    number: int
    name: str
    rows: int
    seconds: float
    outcomes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """The whole page."""

    name: str
    constitution: Constitution | None
    """None when none was at work: people taught."""
    seed: int
    models: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    """What was edited or is damaged, to be known before anything is believed."""
    headline: tuple[str, ...]
    rated: Table | None
    form: Table | None
    trade_off: Markup | None
    by_revision: Markup | None
    by_group: Markup | None
    policy: tuple[PolicyFigure, ...]
    curves: tuple[tuple[str, tuple[tuple[charts.Curve, Markup], ...]], ...]
    histogram: Markup | None
    reliability: Markup | None
    critic: tuple[str, ...]
    judge: tuple[str, ...]
    quality: LabelQuality | None
    preference: tuple[tuple[str, str, str], ...]
    stages: tuple[StageLine, ...]
    plugins: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """The facts of each plug-in's stage, as (what, value)."""
    missing: tuple[str, ...]
    revision_principles: tuple[DrawnPrinciple, ...]
    preference_principles: tuple[DrawnPrinciple, ...]
    shelves: tuple[samples.Shelf, ...]
    results: Mapping[str, Any]
    recipe: str


def content_of(run: RunDirectory) -> Content:
    """Read a run directory, finished or not."""
    figures = results(run)
    stages = {artefact.name: artefact for artefact in run.artefacts(verified=True)}
    rated = samples.ratings(stages.get(names.MEASURE))
    feedback = stages[names.AI_FEEDBACK].rows() if names.AI_FEEDBACK in stages else []
    revisions = stages[names.CRITIQUE_REVISION].rows() if names.CRITIQUE_REVISION in stages else []
    policy = names.policies_of(run.recipe)[-1]
    models, recipe, preference = figures["models"], run.recipe, figures.get("preference_model", {})
    return Content(
        name=recipe.name,
        constitution=run.constitution if recipe.method is Method.CAI else None,
        seed=recipe.seed,
        models=tuple((part, name) for part, name in recipe.models.model_dump().items() if name is not None),
        remarks=tuple(figures.get("remarks", ())),
        headline=tuple(headline(figures)),
        rated=measures_table(models, _LABEL_COLUMNS),
        form=measures_table(models, _FORM_COLUMNS),
        trade_off=charts.trade_off(models, None if recipe.method is Method.CAI else ("pretrained", names.RLHF)),
        by_revision=charts.by_revision(figures.get("revisions", {})),
        by_group=by_group(figures.get("groups", {})),
        policy=tuple(policy_figures(figures, stages[policy].rows() if policy in stages else [])),
        curves=tuple(_curves(stages, names.policies_of(recipe))),
        histogram=charts.histogram([row["p_a"] for row in feedback if row["p_a"] is not None]),
        reliability=charts.reliability(figures.get("labels", {}).get("calibration", [])),
        critic=tuple(judge_check_details({"critic": figures.get("judge_check", {}).get("critic")})),
        judge=tuple(judge_sentences(figures)),
        quality=quality_of(figures),
        preference=tuple(_flat({key: preference[key] for key in _PREFERENCE if key in preference})),
        stages=tuple(_stage_lines(figures["stages"], names.names_of(recipe))),
        plugins=tuple((name, tuple(_listed(facts))) for name, facts in figures.get("plugins", {}).items()),
        missing=tuple(figures["unfinished"]),
        revision_principles=drawn_for_revision(run.constitution, revisions, rated),
        preference_principles=drawn_for_preference(run.constitution, feedback),
        shelves=tuple(_shelves(stages, run.constitution, rated)),
        results=figures,
        recipe=(run.path / "recipe.yaml").read_text(encoding="utf-8", errors="replace"),
    )


_LABEL_COLUMNS = (
    *((label.value, "harmful prompts") for label in HARMFUL_PROMPT_MEASURES),
    *((label.value, "benign prompts") for label in BENIGN_PROMPT_MEASURES),
)
_FORM_COLUMNS = (("finished", "all prompts"), ("empty", "all prompts"), ("words", "all prompts"))


def measures_table(models: Mapping[str, Mapping[str, Figures]], columns: Sequence[tuple[str, str]]) -> Table | None:
    """The columns that at least one model has, or None."""
    kept = tuple(column for column in columns if any(column[0] in measures for measures in models.values()))
    if not kept:
        return None
    rows = tuple(
        (name, charts.tone(name, index), tuple(_measured(measures, column) for column, _ in kept))
        for index, (name, measures) in enumerate(models.items())
    )
    return Table(kept, rows)


def _measured(measures: Mapping[str, Figures], name: str) -> MeasureCell | None:
    figure = measures.get(name)
    if figure is None:
        return None
    if name == "words":
        return MeasureCell(figure, f"{figure['value']:.1f}", f"{figure['low']:.1f}-{figure['high']:.1f}", None)
    return MeasureCell(figure, percent(figure["value"]), interval(figure), charts.bar(figure, f"label-{name}"))


Wanted = tuple[str, str, tuple[str, ...], str]
"""Stage, title, the columns that may hold it (the first present one is drawn), and what the numbers are."""
_SUPERVISED: tuple[Wanted, ...] = (
    (names.SL_CAI, "SL-CAI", ("loss",), "loss per token, in nats"),
    (names.SL_CAI, "SL-CAI", ("held_out_loss",), "held-out loss per token"),
    (names.PREFERENCE_MODEL, "Preference model", ("loss",), "loss per pair"),
    (names.PREFERENCE_MODEL, "Preference model", ("held_out_loss",), "held-out loss per pair"),
)


def _of_policy(stage: str) -> tuple[Wanted, ...]:
    return (
        (stage, "Score", ("score",), "of the preference model"),
        (stage, "KL", ("kl",), "to the model it started from, in nats"),
        (stage, "Length", ("length",), "of replies, in tokens"),
        (stage, "Entropy", ("entropy",), "of the policy, in nats"),
        (stage, "Held-out score", ("held_out_score",), "of a preference model that was not learned from"),
        (stage, "Commonest opening", ("common_opening",), "share of replies with the same first five words"),
        (stage, "Labelled pairs", ("margin",), "mean margin of the implied reward"),
    )


def _curves(
    stages: Mapping[str, Artefact], policies: Sequence[str]
) -> Iterator[tuple[str, tuple[tuple[charts.Curve, Markup], ...]]]:
    trained = (*policies, names.SL_CAI, names.PREFERENCE_MODEL)
    tables = {name: stages[name].rows() for name in trained if name in stages}
    reinforced = [
        (f"Reinforcement learning{f', round {number}' if number > 1 else ''}", _of_policy(policy))
        for number, policy in enumerate(policies, start=1)
    ]
    for title, wanted in (*reinforced, ("Supervised training", _SUPERVISED)):
        drawn = []
        for stage, name, columns, note in wanted:
            rows = tables.get(stage, [])
            column = next((column for column in columns if rows and column in rows[0]), None)
            curve = charts.Curve(name, tuple(_points(rows, column)) if column else (), note)
            picture = charts.trend(curve)
            if picture is not None:
                drawn.append((curve, picture))
        if drawn:
            yield title, tuple(drawn)


def _points(rows: Sequence[Row], column: str) -> Iterator[tuple[float, float]]:
    for index, row in enumerate(rows):
        value = row[column]
        if isinstance(value, int | float) and math.isfinite(value):
            yield float(row.get("step") or index + 1), float(value)


_WORDS = {
    "labelled_pairs": "better reply scored higher, labelled pairs of known order",
    PromptKind.HELD_OUT_HARMFUL: "better reply scored higher, answers to held-out harmful prompts",
    PromptKind.HELD_OUT_BENIGN: "better reply scored higher, answers to held-out benign prompts",
    "brier": "Brier score",
    "ece": "expected calibration error",
}
"""Facts whose names need more words to be understood."""
_PREFERENCE = (
    "accuracy",
    "brier",
    "ece",
    "centre",
    "labelled_pairs",
    PromptKind.HELD_OUT_HARMFUL,
    PromptKind.HELD_OUT_BENIGN,
)
"""Facts of the preference model that the page shows; `solon results --json` has them all."""


def _flat(facts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """Every number among nested facts as (what, value, interval and cases)."""
    for key, value in facts.items():
        here = (*path, _WORDS.get(str(key), str(key).replace("_", " ")))
        if is_figure(value):
            yield ", ".join(here), percent(value["value"]), f"[{interval(value)}] of {value['n']}"
        elif isinstance(value, Mapping):
            yield from _flat(value, here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield ", ".join(here), f"{value:.4g}", ""


def _listed(facts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every value among the nested facts of a stage that this page knows nothing about."""
    for key, value in facts.items():
        here = (*path, str(key).replace("_", " "))
        if isinstance(value, Mapping):
            yield from _listed(value, here)
        else:
            yield ", ".join(here), f"{value:.4g}" if isinstance(value, float) else str(value)


def _stage_lines(stages: Mapping[str, Any], order: Sequence[str]) -> Iterator[StageLine]:
    for position, (name, facts) in enumerate(stages.items(), start=1):
        number = order.index(name) + 1 if name in order else position
        yield StageLine(number, name, facts["rows"], facts["seconds"], tuple(facts["outcomes"].items()))


def _shelves(
    stages: Mapping[str, Artefact], constitution: Constitution, rated: Sequence[Row]
) -> Iterator[samples.Shelf]:
    shelves = []
    if names.RESPONSES in stages and names.CRITIQUE_REVISION in stages:
        both = stages[names.RESPONSES], stages[names.CRITIQUE_REVISION]
        shelves.append(samples.revision_shelf(*both, constitution, rated))
    if names.AI_FEEDBACK in stages:
        shelves.append(samples.pair_shelf(stages[names.AI_FEEDBACK], constitution, rated))
    if names.MEASURE in stages:
        shelves.append(samples.answer_shelf(stages[names.MEASURE]))
    yield from (shelf for shelf in shelves if shelf is not None)


def json_for_script(value: object) -> Markup:
    """JSON that cannot end the script element, nor open a comment or another script in it."""
    # Every character that HTML could read is escaped, in strings as everywhere.
    plain = json.dumps(value, ensure_ascii=True, sort_keys=False)
    for character in "<>&":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)
