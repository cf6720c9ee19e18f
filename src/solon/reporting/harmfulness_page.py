"""The pages of `solon harmfulness`: how a model of ratings fits ratings, and the scores of models by it.

Each is a pure function of its folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from solon.reporting import rating_charts
from solon.reporting.page import fill, write_page
from solon.reporting.rating_charts import in_words
from solon.runs import Artefact
from solon.runs.facts import read_facts
from solon.runs.harmfulness_rows import AbsoluteScore, AbsoluteScoreFacts, HarmfulnessFacts, RatingFigures
from solon.stats.intervals import signed

HARMFULNESS_PAGE = "harmfulness.html"


@dataclass(frozen=True, slots=True)
class HarmfulnessContent:
    """What the page shows."""

    title: str
    sentences: tuple[str, ...]
    calibration: Markup | None
    scores: tuple[AbsoluteScore, ...] = ()
    by_temperature: Markup | None = None


def write_training(trained: Artefact) -> Path:
    """Write the page of a trained model of ratings into its folder; returns its path."""
    facts = read_facts(HarmfulnessFacts, trained.facts, str(trained.path))
    found = facts.calibration
    counts = f"{facts.examples:,} rated conversations; {facts.held_out_examples:,} others were only predicted."
    sentences = [f"Trained from {facts.base} on {counts}", *(calibration_sentences(found) if found else ())]
    if found is None:
        sentences.append("Nothing was held out, so that it is not known how well it predicts.")
    picture = rating_charts.calibration(found) if found else None
    return _written(trained, HarmfulnessContent("Model of ratings", tuple(sentences), picture))


def write_scores(measured: Artefact) -> Path:
    """Write the page of measured models into their folder; returns its path."""
    facts = read_facts(AbsoluteScoreFacts, measured.facts, str(measured.path))
    found = facts.calibration
    said = f"Mean predicted rating over {facts.prompts} held-out prompts, {facts.samples} replies to each."
    sentences = [said, *(calibration_sentences(found) if found else (NO_CALIBRATION,))]
    content = HarmfulnessContent(
        "Absolute harmfulness",
        tuple(sentences),
        rating_charts.calibration(found) if found else None,
        facts.scores,
        rating_charts.by_temperature(facts.scores),
    )
    return _written(measured, content)


NO_CALIBRATION = "How well the scorer predicts ratings is not known: the folder around it is not that of its training."


def calibration_sentences(found: RatingFigures) -> Iterator[str]:
    """The fit of predictions to ratings in sentences."""
    rank = found.rank_correlation
    if rank is not None:
        interval = f"[{rank.low:.2f} to {rank.high:.2f}]"
        yield f"Rank correlation with the ratings {rank.value:.2f} {interval} over {rank.n:,} conversations."
    better = "less" if found.error < found.error_of_mean else "no less"
    yield (
        f"Typical error {found.error:.2f} points, {better} than the {found.error_of_mean:.2f} of somebody who always "
        f"says the mean rating; predictions are {signed(found.bias.value)} from the ratings on average."
    )


def _written(artefact: Artefact, content: HarmfulnessContent) -> Path:
    shown = [(each, in_words(each.score) if each.score else "-") for each in content.scores]
    return write_page(artefact.path / HARMFULNESS_PAGE, fill("harmfulness.html", page=content, scores=shown))
