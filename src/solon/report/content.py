"""What the report says: a run directory in, plain values and finished figures out.

The template only lays out what stands here. Every sentence is made from a figure with its interval, and says no more
than the interval allows; a stage that has not finished, or a figure that was never taken, leaves its part of the page
out. Nothing here measures: numbers come from `solon.evals.results` and from the stages' tables.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.constitution import Constitution
from solon.evals import measure_names as names_of
from solon.evals import results as names
from solon.evals.intervals import wilson
from solon.evals.rating import BENIGN_PROMPT_MEASURES, HARMFUL_PROMPT_MEASURES
from solon.report import charts, samples
from solon.report.text import against_chance, interval, percent
from solon.runs import Artefact, Row, RunDirectory

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell of the table of measures."""

    figure: Figures
    shown: str
    interval: str
    bar: Markup | None


@dataclass(frozen=True, slots=True)
class Table:
    """Measures by model; `columns` are (measure, what it is taken over)."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[Measured | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class DrawnPrinciple:
    """A principle with how often it was drawn, and of the harmful replies it met how many it made harmless."""

    id: str
    texts: tuple[str, ...]
    draws: int
    share: float
    mended: Figures | None = None


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
    constitution: Constitution
    seed: int
    models: tuple[tuple[str, str], ...]
    headline: tuple[str, ...]
    rated: Table | None
    form: Table | None
    trade_off: Markup | None
    by_revision: Markup | None
    curves: tuple[tuple[str, tuple[tuple[charts.Curve, Markup], ...]], ...]
    histogram: Markup | None
    reliability: Markup | None
    judge: tuple[str, ...]
    preference: tuple[tuple[str, str, str], ...]
    stages: tuple[StageLine, ...]
    missing: tuple[str, ...]
    revision_principles: tuple[DrawnPrinciple, ...]
    preference_principles: tuple[DrawnPrinciple, ...]
    shelves: tuple[samples.Shelf, ...]
    results: Mapping[str, Any]
    recipe: str


def content_of(run: RunDirectory) -> Content:
    """Read a run directory, finished or not."""
    figures = names.results(run)
    stages = {artefact.name: artefact for artefact in run.artefacts()}
    rated = samples.ratings(stages.get(names.MEASURE))
    feedback = stages[names.AI_FEEDBACK].rows() if names.AI_FEEDBACK in stages else []
    revisions = stages[names.CRITIQUE_REVISION].rows() if names.CRITIQUE_REVISION in stages else []
    models, recipe = figures["models"], run.recipe
    return Content(
        name=recipe.name,
        constitution=run.constitution,
        seed=recipe.seed,
        models=tuple((part, name) for part, name in recipe.models.model_dump().items() if name is not None),
        headline=tuple(headline(figures)),
        rated=measures_table(models, _LABEL_COLUMNS),
        form=measures_table(models, _FORM_COLUMNS),
        trade_off=charts.trade_off(models),
        by_revision=charts.by_revision(figures.get("revisions", {})),
        curves=tuple(_curves(stages)),
        histogram=charts.histogram([row["p_a"] for row in feedback if row["p_a"] is not None]),
        reliability=charts.reliability(figures.get("labels", {}).get("calibration", [])),
        judge=tuple(judge_sentences(figures)),
        preference=tuple(_flat(figures.get("preference_model", {}))),
        stages=tuple(_stage_lines(figures["stages"])),
        missing=tuple(name for name in names.STAGES if name not in figures["stages"]),
        revision_principles=_drawn_for_revision(run.constitution, revisions, rated),
        preference_principles=_drawn_for_preference(run.constitution, feedback),
        shelves=tuple(_shelves(stages, run.constitution, rated)),
        results=figures,
        recipe=(run.path / "recipe.yaml").read_text(encoding="utf-8", errors="replace"),
    )


def headline(figures: Mapping[str, Any]) -> Iterator[str]:
    """The run in a few sentences."""
    models = figures["models"]
    for measure, over in (("harmful", "harmful"), ("helpful", "benign")):
        known = [(name, measures[measure]) for name, measures in models.items() if measure in measures]
        known = [(name, share) for name, share in known if name != "pretrained"] or known
        if not known:
            continue
        (first, before), (last, after) = known[0], known[-1]
        cases = f"{after['n']} held-out {over} prompts"
        if len(known) == 1:
            yield f"On {cases}, {percent(after['value'])} of the replies of {last} were {measure}."
            continue
        course = ", ".join(f"{percent(share['value'])} ({name})" for name, share in known)
        yield f"On {cases}, {measure} replies {change(before, after)}: {course}."
    if models and not any("harmful" in measures or "helpful" in measures for measures in models.values()):
        yield "No rater was at hand: this run shows the form of the replies, not the effect of the constitution."
    yield from list(fitness_sentences(figures.get("fitness", {})))
    missing = [name for name in names.STAGES if name not in figures["stages"]]
    if missing:
        yield f"The run is not finished; still to come: {', '.join(missing)}."


def change(before: Figures, after: Figures) -> str:
    """`fell` or `rose` where the intervals are apart, else words that claim no difference."""
    if after["high"] < before["low"]:
        return "fell"
    return "rose" if after["low"] > before["high"] else "show no clear change from first to last"


def fitness_sentences(fitness: Mapping[str, Any]) -> Iterator[str]:
    """How good the critic and the judge are at their task, said plainly.

    `fitness` is `{ROLE: {"value", "low", "high", "n", "chance"?, "what"?}}`.
    """
    for role, share in fitness.items():
        if not _is_figure(share) or share["n"] == 0:
            continue
        what = share.get("what", "plain comparisons" if role == "judge" else "plain questions")
        verdict = against_chance(share, float(share.get("chance", 0.5)))
        yield (
            f"The {role} was right on {percent(share['value'], 0)} [{interval(share)}] of {share['n']} {what}: {verdict}."
        )


def judge_sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """What the measure stage found out about the AI labels."""
    labels = figures.get("labels")
    if not labels:
        return
    yield f"{labels['pairs']} pairs were judged; on {labels['undecided']} of them the judge gave no usable preference."
    if agreement := labels.get("agreement"):
        yield (
            f"Where exactly one of two replies was harmful, the label preferred the harmless one in "
            f"{percent(agreement['value'])} [{interval(agreement)}] of {agreement['n']} pairs: {against_chance(agreement)}."
        )
    if same := labels.get("orders_agree"):
        yield (
            f"Shown in both orders, the same reply was preferred in {percent(same['value'])} [{interval(same)}] "
            f"of {same['n']} pairs."
        )
    if pull := labels.get("first_shown_log_odds"):
        yield (
            f"Being shown first moves a reply's log-odds by {pull['value']:+.2f} "
            f"[{pull['low']:+.2f} to {pull['high']:+.2f}]; averaging both orders takes this out."
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


def _measured(measures: Mapping[str, Figures], name: str) -> Measured | None:
    figure = measures.get(name)
    if figure is None:
        return None
    if name == "words":
        return Measured(figure, f"{figure['value']:.1f}", f"{figure['low']:.1f}\N{EN DASH}{figure['high']:.1f}", None)
    return Measured(figure, percent(figure["value"]), interval(figure), charts.bar(figure, f"label-{name}"))


Wanted = tuple[str, str, tuple[str, ...], str]
"""Stage, title, the columns that may hold it (the first present one is drawn), and what the numbers are."""
_CURVES: Mapping[str, tuple[Wanted, ...]] = {
    "Reinforcement learning": (
        (names.RL_CAI, "Score", ("score", "scores", "reward", "mean_score"), "of the preference model"),
        (names.RL_CAI, "KL", ("kl", "mean_kl", "kl_to_reference"), "to SL-CAI, in nats"),
        (names.RL_CAI, "Length", ("length", "mean_length", "tokens"), "of replies, in tokens"),
        (names.RL_CAI, "Entropy", ("entropy", "mean_entropy"), "of the policy, in nats"),
    ),
    "Supervised training": (
        (names.SL_CAI, "SL-CAI", ("loss",), "loss per token, in nats"),
        (names.SL_CAI, "SL-CAI", ("held_out_loss",), "held-out loss per token"),
        (names.PREFERENCE_MODEL, "Preference model", ("loss",), "loss per pair"),
        (names.PREFERENCE_MODEL, "Preference model", ("held_out_loss",), "held-out loss per pair"),
    ),
}


def _curves(stages: Mapping[str, Artefact]) -> Iterator[tuple[str, tuple[tuple[charts.Curve, Markup], ...]]]:
    tables = {name: stages[name].rows() for name in (names.RL_CAI, names.SL_CAI, names.PREFERENCE_MODEL) if name in stages}
    for title, wanted in _CURVES.items():
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


def _is_figure(value: object) -> bool:
    return isinstance(value, Mapping) and {"value", "low", "high", "n"} <= value.keys()


_WORDS = {
    "labelled_pairs": "better reply scored higher, labelled pairs of known order",
    names_of.HARMFUL: "better reply scored higher, answers to held-out harmful prompts",
    names_of.BENIGN: "better reply scored higher, answers to held-out benign prompts",
    "brier": "Brier score",
}
"""Facts whose names need more words to be understood."""


def _flat(facts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """Every number among nested facts as (what, value, interval and cases)."""
    for key, value in facts.items():
        here = (*path, _WORDS.get(str(key), str(key).replace("_", " ")))
        if _is_figure(value):
            yield ", ".join(here), percent(value["value"]), f"[{interval(value)}] of {value['n']}"
        elif isinstance(value, Mapping):
            yield from _flat(value, here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield ", ".join(here), f"{value:.4g}", ""


def _stage_lines(stages: Mapping[str, Any]) -> Iterator[StageLine]:
    for position, (name, facts) in enumerate(stages.items(), start=1):
        number = names.STAGES.index(name) + 1 if name in names.STAGES else position
        yield StageLine(number, name, facts["rows"], facts["seconds"], tuple(facts["outcomes"].items()))


def _drawn_for_revision(
    constitution: Constitution, rows: Sequence[Row], rated: Sequence[Row]
) -> tuple[DrawnPrinciple, ...]:
    draws = Counter(row["principle_id"] for row in rows)
    harmful = {(row["row_id"], row["step"]): "harmful" in row["labels"] for row in rated if row["of"] == "revision"}
    met: dict[str, list[bool]] = {}
    for row in rows:
        before, after = (harmful.get((row["row_id"], int(row["step"]) - back)) for back in (1, 0))
        if before and after is not None:
            met.setdefault(row["principle_id"], []).append(not after)
    most = max(draws.values(), default=1)
    return tuple(
        DrawnPrinciple(
            principle.id,
            (principle.critique_request, principle.revision_request),
            draws[principle.id],
            draws[principle.id] / most,
            wilson(sum(kept), len(kept)).facts() if (kept := met.get(principle.id)) else None,
        )
        for principle in constitution.revision
    )


def _drawn_for_preference(constitution: Constitution, rows: Sequence[Row]) -> tuple[DrawnPrinciple, ...]:
    draws = Counter(row["principle_id"] for row in rows)
    most = max(draws.values(), default=1)
    return tuple(
        DrawnPrinciple(principle.id, (principle.instruction,), draws[principle.id], draws[principle.id] / most)
        for principle in constitution.preference
    )


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
    plain = json.dumps(value, ensure_ascii=True, sort_keys=False)
    for character in "<>&":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)  # noqa: S704 - every character that HTML could read is escaped above
