"""The page of `solon eval`: a pure function of the figures in an evaluation folder.

One table of accuracies beside what needs no model, then for each evaluation its calibration figure, what the order and
the letters did, and what could not be told. File names, option texts and complaints come from data and pass through the
same escaping as the run report. The terminal's table is made of the same lines.
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
from solon.stats.intervals import interval, per_cent, percent

PAGE = "evaluations.html"
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvaluationLine:
    """One accuracy: whose, its figure (value, low, high, n), and what else is known of it."""

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
    evaluations = results["evaluations"]
    return fill(
        "evaluations.html",
        model=results["model"] or "no model",
        lines=lines(evaluations),
        sections=[_section(facts) for facts in evaluations],
    )


def lines(evaluations: Sequence[Figures]) -> list[EvaluationLine]:
    """Every accuracy in order: an evaluation's forms, then its baselines."""
    found: list[EvaluationLine] = []
    for name in dict.fromkeys(facts["evaluation"] for facts in evaluations):
        own = [facts for facts in evaluations if facts["evaluation"] == name]
        for facts in own:
            found += _measured(facts)
        known = own[0]["baselines"]
        if known["longer"]:
            found.append(EvaluationLine(name, "baseline: the longer reply", known["longer"]))
        found.append(EvaluationLine(name, f"baseline: always ({known['majority']['letter']})", known["majority"]))
    return found


def _measured(facts: Figures) -> list[EvaluationLine]:
    orders, calibration, first = facts["orders"] or {}, facts["calibration"], facts["first_sample"]
    whole = EvaluationLine(
        facts["evaluation"],
        _form(facts),
        facts["accuracy"],
        orders.get("as_given"),
        orders.get("same_option"),
        calibration["ece"],
        calibration["brier"],
        facts["undecided"],
    )
    if not first:
        return [whole]
    calibration = first["calibration"]
    single = EvaluationLine(
        facts["evaluation"],
        _form(facts, samples=1),
        first["accuracy"],
        ece=calibration["ece"],
        brier=calibration["brier"],
        undecided=first["undecided"],
    )
    return [single, whole]


def _form(facts: Figures, samples: int | None = None) -> str:
    name = {"letter": "0-shot"}.get(facts["form"], facts["form"].replace("-", " "))
    count = samples or facts["samples"]
    details = [_count(facts["examples"], "example")] if facts["examples"] else []
    details += [_count(count, "sample")] if facts["form"] == "reasoned" else []
    return f"{name} ({', '.join(details)})" if details else name


def _section(facts: Figures) -> Section:
    words = ReliabilityWords(
        "probability of the option held most probable",
        "how often it was right",
        f"Calibration on {facts['evaluation']}, {_form(facts)}, with 95 % intervals",
        "probability",
        "right",
        "questions",
    )
    return Section(
        title=f"{facts['evaluation']}: {_form(facts)}",
        picture=reliability(facts["calibration"]["bins"], words),
        sentences=tuple(sentences(facts)),
        letters=tuple((facts["letters"] or {"prior": {}})["prior"].items()),
        labels=tuple((facts["by_label"] or {}).items()),
        bad_rows=tuple(facts["bad_rows"]),
    )


def sentences(facts: Figures) -> list[str]:
    """An evaluation's figures in words."""
    found, answered, chance = facts["accuracy"], facts["answered"], facts["baselines"]["chance"]
    calibration, orders, letters = facts["calibration"], facts["orders"], facts["letters"]
    told = [f"Right on {_share(found)} of {found['n']} questions."]
    if answered:
        told = [
            f"{told[0]} Of the {answered['n']} answered, {_share(answered)}: {against_chance(answered, chance)}, "
            f"which is {percent(chance)}."
        ]
    if calibration["ece"] is not None:
        told.append(
            f"Expected calibration error {calibration['ece']:.3f}, Brier score {calibration['brier']:.3f} "
            f"(a uniform guess has {(1 - chance) / 2:.3f})."
        )
    if orders:
        shown = "both orders" if facts["options"] == 2 else f"all {facts['options']} rotations of the options"
        told.append(
            f"Scores are averaged over {shown}. In the file's order alone {_share(orders['as_given'])} would be right, "
            f"in a single order between {per_cent(orders['lowest'])} and {percent(orders['highest'])}; "
            f"the same option wins in every order in {_share(orders['same_option'])} of the questions."
        )
    elif facts["form"] != "preference-model":
        told.append("Each question was asked in one drawn order, so a liking for a letter is not removed.")
    if letters and letters["mass"]:
        mass = percent(letters["mass"]["value"])
        told.append(f"The letters together get {mass} of the probability where the answer stands.")
    if facts["undecided"]:
        whys = ", ".join(f"{why}: {count}" for why, count in facts["undecided_because"].items())
        told.append(f"Without an answer, and so not right: {facts['undecided']} ({whys}).")
    if facts["untold_samples"] and facts["form"] == "reasoned":
        told.append(f"{facts['untold_samples']} chains of thought did not come to an end and are left out.")
    return told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _share(figure: Figures) -> str:
    return f"{percent(figure['value'])} [{interval(figure)}]"
