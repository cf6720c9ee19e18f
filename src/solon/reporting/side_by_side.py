"""Two runs side by side: what differs in them, what they did, and their replies to the same held-out prompts.

Differences between the last models of the runs are paired by prompt. Where the runs share no graded prompt, or other
graders or judges labelled the replies, the page says why there are none. This page says how two runs differ, whatever
made them differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from solon.config.loading import differences
from solon.config.recipe import Method
from solon.constitution.diff import changes
from solon.errors import RunError
from solon.evals.measures import measures
from solon.reporting.charts import tone
from solon.reporting.dot_rows import DotGroup, DotRow, dot_rows
from solon.reporting.effect.comparable_runs import refuse_same
from solon.reporting.model_comparison import compare_models, label_source
from solon.reporting.page import write_with_samples
from solon.reporting.policy import PolicyFigure, policy_figures
from solon.reporting.results import results
from solon.reporting.samples import Sample, Shelf, Version, in_order, plain_text, prompt_of
from solon.reporting.verdict import FirstScreen, first_screen, note_of
from solon.runs import RunDirectory
from solon.runs.evaluation_rows import AnswerRow
from solon.runs.rows import PromptKind
from solon.runs.training_rows import RlStepRow
from solon.stages import plan as names
from solon.stats.intervals import per_cent

CONSTITUTION_PATH = "constitution"
"""The setting that names the constitution's file, of which the content is compared."""


@dataclass(frozen=True, slots=True)
class RunColumn:
    """One of the two runs."""

    letter: str
    name: str
    seed: int
    constitution: str | None
    """None for RLHF, which uses no constitution."""
    first: FirstScreen
    policy: tuple[PolicyFigure, ...]


@dataclass(frozen=True, slots=True)
class ShareDifference:
    """A measure of B's last model minus that of A's, on the same prompts, in words."""

    measure: str
    words: str
    clear: bool


@dataclass(frozen=True, slots=True)
class TwoRuns:
    """The content of the page."""

    runs: tuple[RunColumn, RunColumn]
    models: tuple[str, ...]
    """The last model of each run."""
    measured: Markup | None
    differences: tuple[ShareDifference, ...]
    no_differences: str
    """Why there are none."""
    settings: tuple[tuple[str, str, str], ...]
    constitutions: bool
    """Whether both runs used one, so that they can be compared."""
    principles: tuple[str, ...]
    shelves: tuple[Shelf, ...]
    judged_by: str
    """Who labelled the replies of both runs, in a sentence; empty where no reply has a label."""


def write_side_by_side(run: RunDirectory, other: RunDirectory, output: Path | None = None) -> Path:
    """Write the page of two runs, `report-against-NAME.html` in the folder of the first when None; returns its path.

    Raises RunError for two names of one run.
    """
    path = output or run.path / f"report-against-{other.path.resolve().name}.html"
    content = two_runs(run, other)
    return write_with_samples(path, "two-runs.html", content.shelves, page=content)


def two_runs(run: RunDirectory, other: RunDirectory) -> TwoRuns:
    """Read two runs, finished or not; raises RunError for two names of one run."""
    refuse_same(run, other)
    both = {"A": run, "B": other}
    figures = {letter: results(each) for letter, each in both.items()}
    last = {letter: list(of["models"])[-1] for letter, of in figures.items() if of["models"]}
    found, why = _differences(both, last)
    one, two = (_column(letter, each, figures[letter]) for letter, each in both.items())
    return TwoRuns(
        runs=(one, two),
        models=tuple(last.values()),
        measured=_measured(figures),
        differences=found,
        no_differences=why,
        settings=tuple(
            (key, _short(old), _short(new))
            for key, old, new in differences(run.recipe, other.recipe)
            if key != CONSTITUTION_PATH
        ),
        constitutions=_by_constitution(run, other),
        principles=tuple(
            f"{change.section} {change.id}: {change.edit.value}"
            for change in (changes(run.constitution, other.constitution) if _by_constitution(run, other) else ())
        ),
        shelves=tuple(_shelves(both, last)),
        judged_by=_judged_by(both),
    )


def _by_constitution(*runs: RunDirectory) -> bool:
    return all(run.recipe.method is Method.CAI for run in runs)


def _column(letter: str, run: RunDirectory, figures: Mapping[str, Any]) -> RunColumn:
    policy = run.finished(names.policies_of(run.recipe)[-1])
    rows = policy.rows(RlStepRow) if policy is not None and "kl" in policy.facts else []
    return RunColumn(
        letter,
        run.path.resolve().name,
        run.recipe.seed,
        run.constitution.name if run.recipe.method is Method.CAI else None,
        first_screen(figures, run.recipe),
        tuple(policy_figures(figures, rows)),
    )


def _measured(figures: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    """Every graded measure with a row for each model of each run; a model that both runs share has one."""
    every = dict.fromkeys(name for of in figures.values() for name in of["models"])
    models: dict[str, Mapping[str, Any]] = {}
    for name in every:
        found = {letter: of["models"][name] for letter, of in figures.items() if name in of["models"]}
        if len(found) == len(figures) and found["A"] == found["B"]:
            models[f"A, B: {name}"] = found["A"]
        else:
            models |= {f"{letter}: {name}": of for letter, of in found.items()}
    groups = [
        DotGroup(
            measure.name.replace("_", " "),
            tuple(
                DotRow(name, of.get(measure.name), tone(name.partition(": ")[2], place))
                for place, (name, of) in enumerate(models.items())
            ),
            note_of(measure),
            f"label-{measure.name}",
        )
        for measure in measures()
        if measure.graded and any(measure.name in of for of in models.values())
    ]
    return dot_rows(groups)


def _differences(both: Mapping[str, RunDirectory], last: Mapping[str, str]) -> tuple[tuple[ShareDifference, ...], str]:
    """The paired differences of the last models, or why there are none."""
    if len(last) < len(both):
        return (), "One of the runs has not measured its models yet."
    pair = [(f"A: {last['A']}", f"B: {last['B']}")]
    try:
        compared = compare_models(both, pair)
    except RunError as error:
        return (), f"{error.cause[:1].upper()}{error.cause[1:]}."
    found = []
    for each in compared.differences:
        of = each.difference
        ends = f"[{_points(of.low)} to {_points(of.high)}]"
        p = "p < 0.001" if of.p_value < 0.001 else f"p = {of.p_value:.3f}"
        words = f"{_points(of.value)} points {ends} over {of.n} prompts, {p}"
        found.append(ShareDifference(each.measure, words, of.low > 0 or of.high < 0))
    return tuple(found), ""


def _judged_by(both: Mapping[str, RunDirectory]) -> str:
    """Who labelled the replies; empty where two did, which is why there are no differences, and is said there."""
    measured = {letter: run.finished(names.MEASURE) for letter, run in both.items()}
    found = {
        letter: label_source(each) for letter, each in measured.items() if each is not None and each.facts.get("grader")
    }
    if len(found) == len(both) and found["A"] != found["B"]:
        return ""
    whose = "" if len(found) == len(both) else f" of {', '.join(found)}"
    words = next((each.words for each in found.values()), None)
    return f"The replies{whose} are judged by {words}." if words is not None else ""


def _points(difference: float) -> str:
    return f"{'+' if difference >= 0 else ''}{per_cent(difference)}"


def _shelves(both: Mapping[str, RunDirectory], last: Mapping[str, str]) -> Iterator[Shelf]:
    """The replies of the last models to the prompts that both runs hold out."""
    found: dict[str, dict[str, AnswerRow]] = {}
    for letter, run in both.items():
        measured = run.finished(names.MEASURE)
        for row in measured.rows(AnswerRow) if measured is not None else ():
            if row.model == last.get(letter):
                found.setdefault(row.row_id, {})[letter] = row
    shared = [rows for rows in found.values() if len(rows) == len(both)]
    ordered = in_order(shared, lambda rows: rows["A"].row_id, lambda rows: [row.outcome for row in rows.values()])
    note = "A prompt that neither run trained on, and the replies of the last models."
    if shared:
        yield Shelf("answer", "Held-out answers", note, tuple(map(_sample, ordered)), len(shared))


def _sample(rows: Mapping[str, AnswerRow]) -> Sample:
    versions = tuple(
        Version(f"{letter}: {row.model}", plain_text(row.completion), row.labels, row.outcome, row.finish)
        for letter, row in rows.items()
    )
    first = rows["A"]
    kind = "benign" if first.kind is PromptKind.HELD_OUT_BENIGN else "harmful"
    same = "the same labels" if set(rows["A"].labels) == set(rows["B"].labels) else "other labels"
    return Sample("answer", first.row_id, prompt_of(first.prompt), versions, (("prompt", kind), ("replies", same)))


def _short(value: object) -> str:
    words = "null" if value is None else str(value)
    return words if len(words) <= 80 else f"{words[:79]}…"
