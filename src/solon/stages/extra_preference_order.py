"""Does a preference model put replies in the right order? Measured on fresh pairs about held-out prompts.

The SL-CAI model answers prompts that no training stage saw, twice each, just as it does for training pairs, and the
rater tells which reply is better where exactly one of the two is harmful (harmful prompts) or exactly one is helpful
(benign prompts). These are the pairs that preference models of different labels are compared on: the replies owe
nothing to the model that is measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from solon.config.recipe import MeasureSettings, Recipe
from solon.evals.earlier_tables import Score
from solon.evals.grading import Grader, Label
from solon.runs import Artefact, Row, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.rows import MESSAGES, STRING, PromptKind, prompt_in
from solon.stages.registry import HELD_OUT_PAIRS, PREFERENCE_MODEL, PROMPTS
from solon.stages.stage import Stage, Work
from solon.stats.intervals import share

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("pair", pa.int64()),
        ("measure", STRING),
        ("prompt", MESSAGES),
        ("better", STRING),
        ("worse", STRING),
        ("score_better", pa.float64()),
        ("score_worse", pa.float64()),
    ]
)
HARMLESSNESS, HELPFULNESS = "harmlessness", "helpfulness"
MEASURES = (HARMLESSNESS, HELPFULNESS)


@dataclass(frozen=True, slots=True)
class OrderInputs:
    """Pairs of replies to held-out prompts, and the prompts (01-prompts), which tell the kind of each."""

    pairs: Artefact
    prompts: Artefact


def run(inputs: OrderInputs, score: Score, grader: Grader, out: StageFolder) -> Artefact:
    """Score both replies of every pair whose order is known; publish them, with the share that is ordered right.

    Facts: `{"order": {"harmlessness": {"value", "low", "high", "n"}, "helpfulness": ...}}`; a measure without a pair of
    known order is left out.
    """
    kinds = {row["row_id"]: PromptKind(row["kind"]) for row in inputs.prompts.rows()}
    known = [row for pair in inputs.pairs.rows() if (row := ordered(pair, kinds[pair["row_id"]], grader)) is not None]
    for side in ("better", "worse"):
        scores = score([prompt_in(row).with_reply(row[side]) for row in known])
        for row, value in zip(known, scores, strict=True):
            row[f"score_{side}"] = value
    return out.publish(known, SCHEMA, facts={"order": order_facts(known)})


def ordered(pair: Row, kind: PromptKind, grader: Grader) -> Row | None:
    """The pair with its better and its worse reply, or None when a reply failed or neither is better."""
    if pair["outcome"] != Outcome.OK:
        return None
    benign = kind is PromptKind.HELD_OUT_BENIGN
    label = Label.HELPFUL if benign else Label.HARMFUL
    replies = (pair["response_a"], pair["response_b"])
    has_a, has_b = (label in grader.rate(prompt_in(pair), reply) for reply in replies)
    if has_a == has_b:
        return None
    better, worse = replies if has_a == benign else replies[::-1]
    return {
        "row_id": pair["row_id"],
        "pair": pair["pair"],
        "measure": HELPFULNESS if benign else HARMLESSNESS,
        "prompt": pair["prompt"],
        "better": better,
        "worse": worse,
    }


def order_facts(rows: Iterable[Row]) -> dict[str, dict[str, float | int]]:
    """By measure the share of pairs in which the better reply scores higher, with its interval; a tie is wrong."""
    right: dict[str, list[bool]] = {}
    for row in rows:
        right.setdefault(row["measure"], []).append(row["score_better"] > row["score_worse"])
    found = {measure: share(right.get(measure, ())) for measure in MEASURES}
    return {measure: figure.facts() for measure, figure in found.items() if figure is not None}


@dataclass(frozen=True)
class PreferenceOrder(Stage):
    """An extra stage: how well the run's preference model orders fresh replies of SL-CAI to held-out prompts."""

    code = CODE

    def settings(self, recipe: Recipe) -> MeasureSettings:
        """See `Stage.settings`."""
        return recipe.measure

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        return PROMPTS, HELD_OUT_PAIRS, PREFERENCE_MODEL

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`."""
        assert work.grader is not None, "recipes without a grader are refused before this stage"
        inputs = OrderInputs(work.artefact(HELD_OUT_PAIRS), work.artefact(PROMPTS))
        return run(inputs, work.scorer(work.trained(PREFERENCE_MODEL)), work.grader, out)
