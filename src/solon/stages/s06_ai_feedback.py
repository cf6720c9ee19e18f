"""Stage 06-ai-feedback: a model says which of two replies is better (paper, section 4.1).

For each pair a principle is drawn at random; the feedback model reads the conversation, the principle and the replies
as options (A) and (B), behind worked examples that each carry a principle of their own; the log-probabilities of the
two letters, normalised against each other, are the label. In the reasoned form the model first thinks step by step, as
often as the recipe says, and its letters are read after what it wrote. A pair is shown in both orders and the two
log-odds are averaged, which takes out a judge's liking for a letter (or in one order, drawn per pair, as in the paper).
There may be several judges, asked one after another, and several axes, each with a principle of its own and a label of
its own beside the pair's. Nothing is made up: a pair that failed or whose replies are the same is not asked, and where
a judge gave no usable preference, a letter's probability missing or both letters equal to the last bit, the pair is
undecided and has no label.

What is asked is built in `comparison_questions`, letters are read in `letters`, a judge's answers are gathered in
`judgements`, and `labelling` makes them one label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from solon.config.recipe import FeedbackSettings
from solon.constitution.constitution import Constitution
from solon.engines.base import Engine
from solon.errors import StageError
from solon.evals.judge_check.judge import CheckJudge
from solon.feedback.comparison_questions import ComparisonPlan, UndecidedReason
from solon.feedback.judgements import JUDGEMENT, Judge, judge_pairs
from solon.feedback.label_quality import label_quality
from solon.feedback.labelling import AXIS_LABEL, axes_in, joined, label_of
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import MESSAGES, STRING

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("pair", pa.int64()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("p_chosen", pa.float64()),
        ("response_a", STRING),
        ("response_b", STRING),
        ("p_a", pa.float64()),
        ("p_a_unclamped", pa.float64()),
        ("log_odds_ab", pa.float64()),
        ("log_odds_ba", pa.float64()),
        ("principle_id", STRING),
        ("judge", STRING),
        ("axes", pa.list_(AXIS_LABEL)),
        ("judgements", pa.list_(JUDGEMENT)),
        ("outcome", STRING),
        ("undecided_because", STRING),
    ]
)
"""`judgements` holds what every judge said on every axis, `axes` the label of each axis."""
Load = Callable[[], Engine]
"""Loads a judge when its turn comes."""


class Pairs(Protocol):
    """Pairs of replies: the artefact of the stage response-pairs, or a file read from elsewhere."""

    def rows(self) -> list[Row]:
        """Rows with `row_id`, `pair`, `prompt`, `response_a`, `response_b` and `outcome`."""
        ...


@dataclass(frozen=True, slots=True)
class FeedbackInputs:
    """The run's seed, the constitution, the pairs (05-response-pairs), how many are judged at once, and a measure."""

    seed: int
    constitution: Constitution
    pairs: Pairs
    chunk: int = 128
    assess: CheckJudge | None = None
    """Measures a judge on questions with known answers, before its labels are asked; it may refuse the judge."""


def run(
    settings: FeedbackSettings, inputs: FeedbackInputs, judges: Engine | Sequence[Load], out: StageFolder
) -> Artefact:
    """Draw principles for each pair, ask every judge for the letters as `settings` say, publish the soft labels.

    Of several judges one is loaded at a time. Raises RecipeError for too few worked examples or an unknown axis, and
    StageError for a judge whose letters cannot be read.
    """
    questionnaire = ComparisonPlan.of(settings, inputs.constitution, inputs.seed)
    # Pairs with the same worked examples are judged together, so that an engine reads those once.
    pairs = sorted(inputs.pairs.rows(), key=questionnaire.variant)
    loads = judges if isinstance(judges, Sequence) else (lambda: judges,)
    said = [_ask_one(number, load, pairs, questionnaire, inputs, out) for number, load in enumerate(loads)]
    rows = [
        label_of(pair, [judgements[number] for judgements, _ in said], questionnaire)
        for number, pair in enumerate(pairs)
    ]
    told = [facts for _, facts in said]
    facts = {
        "judge": joined(each["name"] for each in told),
        "read": joined(each["read"] for each in told),
        "judges": told,
        "clamp": settings.bounds,
        "samples": settings.samples,
        "prefix_variants": settings.prefix_variants if settings.few_shot else 1,
        **label_facts(rows, inputs.constitution),
        **({"axes": axis_facts(rows)} if settings.axes else {}),
        **({"judge_check": told[0]["judge_check"]} if len(told) == 1 and "judge_check" in told[0] else {}),
    }
    return out.publish(rows, SCHEMA, facts=facts)


Said = tuple[list[list[Row]], dict[str, Any]]
"""A judge's judgements of every pair, one for each axis, and what is to be known of the judge."""


def _ask_one(
    number: int,
    load: Load,
    pairs: Sequence[Row],
    questionnaire: ComparisonPlan,
    inputs: FeedbackInputs,
    out: StageFolder,
) -> Said:
    """Have one judge measured, then asked about all pairs; both are durable."""
    judge = Judge.of(load())
    phase = "" if number == 0 else f" {number + 1}"
    facts: dict[str, Any] = {"name": judge.engine.name, "read": judge.engine.choosing, "letter_form": judge.form}
    if assess := inputs.assess:
        # Before the first label, so that nothing is spent on a judge that is refused; once done it is not done again.
        facts["judge_check"] = out.map(f"judge check{phase}", [0], lambda _: [dict(assess(judge.engine))], chunk=1)[0]

    def work(batch: Sequence[Row]) -> list[Row]:
        found = judge_pairs(batch, questionnaire, judge)
        if batch[0] is pairs[0]:
            _refuse_letterless(found, judge)
        return found

    rows = out.map(f"labels{phase}", pairs, work, chunk=inputs.chunk)
    judgements = [row["judgements"] for row in rows]
    masses = [each["letter_mass"] for row in judgements for each in row]
    facts["letter_mass"] = _mean([mass for mass in masses if mass is not None])
    return judgements, facts


def _refuse_letterless(rows: Sequence[Row], judge: Judge) -> None:
    """Raises StageError when none of the first pairs was answered by a letter, though the engine could tell."""
    asked = [each for row in rows for each in row["judgements"] if each["letter_mass"] is not None]
    if asked and all(each["undecided_because"] == UndecidedReason.LETTERLESS for each in asked):
        most = max(each["letter_mass"] for each in asked)
        raise StageError(
            f"the judge answers with no letter: after the first {len(rows)} pairs A and B have "
            f"at most {most:.2g} of the probability together",
            place=judge.engine.name,
            remedy="Show worked examples (--set feedback.few_shot=4), or take another (--set models.feedback=...)",
        )


def label_facts(rows: Sequence[Row], constitution: Constitution) -> dict[str, Any]:
    """Counts of labels: by why there is none, and by principle; `quality` says how good they look."""
    drawn = [axis["principle_id"] for row in rows for axis in axes_in(row)]
    whys = [row["undecided_because"] for row in rows if row["undecided_because"]]
    return {
        "pairs": len(rows),
        "undecided_because": {why.value: whys.count(why.value) for why in UndecidedReason if why.value in whys},
        "principles": {p.id: drawn.count(p.id) for p in constitution.preference},
        "quality": label_quality(rows, constitution),
    }


def axis_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """By axis: weight, how sure its labels are, the share undecided, how often it agrees with the pair's label."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(axis["axis"] for row in rows for axis in row["axes"]):
        labels = [(axis, row["p_a"]) for row in rows for axis in row["axes"] if axis["axis"] == name]
        told = [(axis["p_a"], p) for axis, p in labels if axis["p_a"] is not None]
        found[name] = {
            "weight": labels[0][0]["weight"],
            "undecided": 1 - len(told) / len(labels),
            "mean_p_chosen": _mean([max(own, 1 - own) for own, _ in told]),
            "agrees_with_the_pair": _mean([float((own > 0.5) == (p > 0.5)) for own, p in told if p is not None]),
        }
    return found


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
