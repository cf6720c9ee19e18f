"""The page of `solon eval`: a pure function of the figures in an evaluation folder.

One table has the accuracies and the baselines that need no model. Then follow, for each evaluation, its calibration
plot, the effects of order and letters, and the questions without an answer. File names, option texts and errors come
from data and are escaped like the run report. The terminal's table has the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from solon.reporting.charts import ReliabilityWords, bar, reliability
from solon.reporting.page import fill, write_page
from solon.reporting.visible_text import against_chance
from solon.runs.facts import EvaluationFacts, EvaluationSetup
from solon.runs.records import to_record
from solon.stats.intervals import Share, interval, per_cent, percent, probability

PAGE = "evaluations.html"
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvaluationLine:
    """One line of the table: an evaluation in one form, its accuracy (value, low, high, n), and its other measures."""

    evaluation: str
    form: str
    accuracy: Figures
    as_given: Figures | None = None
    same_option: Figures | None = None
    ece: float | None = None
    brier: float | None = None
    undecided: int | None = None

    @property
    def bar(self) -> Markup:
        """The accuracy as a thin bar."""
        return bar(self.accuracy, "tone-3" if self.undecided is not None else "tone-0")


@dataclass(frozen=True, slots=True)
class Section:
    """One evaluation in one form, for the page."""

    title: str
    picture: Markup | None
    sentences: tuple[str, ...]
    letters: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, Figures], ...]
    bad_rows: tuple[str, ...]


def write(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write the page for `solon.evals.benchmarks.evaluation.results_of(folder)` into the folder; returns its path."""
    return write_page(folder / PAGE, render(results))


def render(results: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    evaluations = evaluations_in(results)
    return fill(
        "evaluations.html",
        model=results["model"] or "no model",
        lines=lines(evaluations),
        sections=[_section(facts) for facts in evaluations],
    )


def evaluations_in(results: Mapping[str, Any]) -> list[EvaluationFacts]:
    """The evaluations of a folder's results."""
    return [EvaluationFacts.read(each) for each in results["evaluations"]]


def lines(evaluations: Sequence[EvaluationFacts]) -> list[EvaluationLine]:
    """Every accuracy in order: an evaluation's forms, then its baselines."""
    found: list[EvaluationLine] = []
    for name in dict.fromkeys(facts.setup.evaluation for facts in evaluations):
        own = [facts for facts in evaluations if facts.setup.evaluation == name]
        for facts in own:
            found += _measured(facts)
        known = own[0].figures.baselines
        if known.longer:
            found.append(EvaluationLine(name, "baseline: the longer reply", known.longer.facts()))
        always = f"baseline: always ({known.majority.letter})"
        found.append(EvaluationLine(name, always, known.majority.facts()))
    return found


def _measured(facts: EvaluationFacts) -> list[EvaluationLine]:
    name, figures = facts.setup.evaluation, facts.figures
    orders, first = figures.orders, figures.first_sample
    whole = EvaluationLine(
        name,
        _form(facts.setup),
        figures.accuracy.facts(),
        orders.as_given.facts() if orders else None,
        orders.same_option.facts() if orders else None,
        figures.calibration.ece,
        figures.calibration.brier,
        figures.undecided,
    )
    if not first:
        return [whole]
    single = EvaluationLine(
        name,
        _form(facts.setup, samples=1),
        first.accuracy.facts(),
        ece=first.calibration.ece,
        brier=first.calibration.brier,
        undecided=first.undecided,
    )
    return [single, whole]


def _form(setup: EvaluationSetup, samples: int | None = None) -> str:
    name = {"letter": "0-shot"}.get(setup.form, setup.form.replace("-", " "))
    details = [_count(setup.examples, "example")] if setup.examples else []
    details += [_count(samples or setup.samples, "sample")] if setup.form == "reasoned" else []
    return f"{name} ({', '.join(details)})" if details else name


def _section(facts: EvaluationFacts) -> Section:
    setup, figures = facts.setup, facts.figures
    words = ReliabilityWords(
        "probability of the most probable option",
        "how often it was right",
        f"Calibration on {setup.evaluation}, {_form(setup)}, with 95 % intervals",
        "probability",
        "right",
        "questions",
    )
    return Section(
        title=f"{setup.evaluation}: {_form(setup)}",
        picture=reliability([to_record(each) for each in figures.calibration.bins], words),
        sentences=tuple(sentences(facts)),
        letters=tuple(figures.letters.prior.items()) if figures.letters else (),
        labels=tuple((label, share.facts()) for label, share in (figures.by_label or {}).items()),
        bad_rows=setup.bad_rows,
    )


def sentences(facts: EvaluationFacts) -> list[str]:
    """An evaluation's figures in sentences."""
    setup, figures = facts.setup, facts.figures
    found, answered, chance = figures.accuracy, figures.answered, figures.baselines.chance
    calibration, orders, letters = figures.calibration, figures.orders, figures.letters
    said = [f"Right on {_share(found)} of {found.n} questions."]
    if answered:
        than = against_chance(answered.facts(), chance)
        said = [f"{said[0]} Of the {answered.n} answered, {_share(answered)}: {than}, which is {percent(chance)}."]
    if calibration.ece is not None and calibration.brier is not None:
        said.append(
            f"Expected calibration error {probability(calibration.ece)}, Brier score {probability(calibration.brier)} "
            f"(a uniform guess has {probability((1 - chance) / 2)})."
        )
    if orders:
        shown = "both orders" if setup.options == 2 else f"all {setup.options} rotations of the options"
        said.append(
            f"Scores are averaged over {shown}. With only the file's order {_share(orders.as_given)} would be right, "
            f"with a single order between {per_cent(orders.lowest)} and {percent(orders.highest)}; "
            f"the same option wins in every order in {_share(orders.same_option)} of the questions."
        )
    elif setup.form != "preference-model":
        said.append("Each question was asked in one drawn order, so a preference for a letter is not removed.")
    if letters and letters.mass:
        mass = percent(letters.mass.value)
        said.append(f"The letters together have {mass} of the probability of the next token.")
    if figures.undecided:
        whys = ", ".join(f"{why}: {count}" for why, count in figures.undecided_because.items())
        said.append(f"Without an answer, which counts as wrong: {figures.undecided} ({whys}).")
    if figures.unfinished_samples and setup.form == "reasoned":
        said.append(f"{figures.unfinished_samples} chains of thought did not end and are left out.")
    return said


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _share(figure: Share) -> str:
    return f"{percent(figure.value)} [{interval(figure.facts())}]"
